# What `modelyard platform configure --from` fills in.
output "bucket" {
  description = "The bucket of artifacts, data and MLflow's files."
  value       = aws_s3_bucket.models.bucket
}

output "image" {
  description = "Under which name a person pushes the image of Containerfile."
  value       = "${aws_ecr_repository.modelyard.repository_url}:${var.image_tag}"
}

output "repository" {
  description = "Where Argo CD and the platform read Git."
  value       = "https://github.com/${var.repository}.git"
}

output "tracking_uri" {
  description = "MLflow, inside of the cluster."
  value       = "http://mlflow.modelyard:5000"
}

output "metrics_uri" {
  description = "Prometheus, inside of the cluster."
  value       = "http://prometheus-operated.monitoring:9090"
}

output "database" {
  description = "MLflow's database, as host:port/name; the Secret modelyard-mlflow has it with the password."
  value       = "${aws_db_instance.mlflow.address}:${aws_db_instance.mlflow.port}/${aws_db_instance.mlflow.db_name}"
}

# What a person uses once.
output "kubeconfig_command" {
  description = "Lets kubectl reach the cluster."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.platform.name}"
}

output "database_secret" {
  description = "The secret of AWS Secrets Manager with the database's user and password."
  value       = aws_db_instance.mlflow.master_user_secret[0].secret_arn
}

output "evidence_role" {
  description = "The role that content.yml of pull requests may take, to read evidence."
  value       = aws_iam_role.evidence.arn
}
