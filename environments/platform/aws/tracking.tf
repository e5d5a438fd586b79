# MLflow's database. Its password is made and kept by AWS: neither Git nor the state has it.
resource "aws_db_subnet_group" "mlflow" {
  name       = "${var.name}-mlflow"
  subnet_ids = [for each in aws_subnet.private : each.id]
}

resource "aws_security_group" "mlflow" {
  name        = "${var.name}-mlflow"
  description = "MLflow's database"
  vpc_id      = aws_vpc.platform.id
}

resource "aws_vpc_security_group_ingress_rule" "mlflow" {
  security_group_id            = aws_security_group.mlflow.id
  description                  = "From the cluster's nodes alone"
  referenced_security_group_id = aws_eks_cluster.platform.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_db_instance" "mlflow" {
  identifier                  = "${var.name}-mlflow"
  engine                      = "postgres"
  engine_version              = "17"
  instance_class              = var.database_class
  db_name                     = "mlflow"
  username                    = "mlflow"
  manage_master_user_password = true
  allocated_storage           = 20
  max_allocated_storage       = 200
  storage_type                = "gp3"
  storage_encrypted           = true
  kms_key_id                  = aws_kms_key.platform.arn
  publicly_accessible         = false
  db_subnet_group_name        = aws_db_subnet_group.mlflow.name
  vpc_security_group_ids      = [aws_security_group.mlflow.id]
  backup_retention_period     = 7
  copy_tags_to_snapshot       = true
  delete_automated_backups    = false
  deletion_protection         = true
  skip_final_snapshot         = false
  final_snapshot_identifier   = "${var.name}-mlflow-final"
  auto_minor_version_upgrade  = true

  lifecycle {
    prevent_destroy = true
  }
}

# AWS would change the password every week, and MLflow could not connect again. Whoever changes it
# writes the Secret `modelyard-mlflow` again.
resource "aws_secretsmanager_secret_rotation" "mlflow" {
  secret_id          = aws_db_instance.mlflow.master_user_secret[0].secret_arn
  rotate_immediately = false

  rotation_rules {
    automatically_after_days = 365
  }
}
