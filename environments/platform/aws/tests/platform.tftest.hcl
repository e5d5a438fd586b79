# What must hold of the account, whatever provider or version plans it. `make infrastructure` runs this with
# OpenTofu and Terraform, without an account: AWS is mocked, and what it would decide is written here.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111122223333:key/mocked" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::modelyard-models-mocked", bucket = "modelyard-models-mocked", id = "modelyard-models-mocked" }
  }
  mock_resource "aws_ecr_repository" {
    defaults = { repository_url = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/modelyard" }
  }
  mock_resource "aws_db_instance" {
    defaults = {
      address            = "modelyard-mlflow.mocked.eu-central-1.rds.amazonaws.com"
      port               = 5432
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:mocked", secret_status = "active", kms_key_id = "mocked" }]
    }
  }
}

variables {
  region     = "eu-central-1"
  repository = "acme/models"
  operators  = ["arn:aws:iam::111122223333:role/operators"]
  api_cidrs  = ["203.0.113.0/24"]
  budget     = { limit = 500, mail = "platform@example.com" }
}

# OpenTofu gives every mocked subnet the same id.
override_resource {
  target = aws_subnet.public
  values = { id = "subnet-public" }
}

override_resource {
  target = aws_subnet.private
  values = { id = "subnet-private" }
}

# One run, because each makes the whole account.
run "account" {
  # The network.
  assert {
    condition     = length(distinct([for each in concat(values(aws_subnet.public), values(aws_subnet.private)) : each.cidr_block])) == 4
    error_message = "The four subnets have four address ranges."
  }
  assert {
    condition     = length(distinct([for each in aws_subnet.private : each.availability_zone])) == 2
    error_message = "The private subnets are in two zones."
  }
  assert {
    condition     = alltrue([for each in concat(values(aws_subnet.public), values(aws_subnet.private)) : each.map_public_ip_on_launch != true])
    error_message = "Nothing gets a public address by itself."
  }
  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && try(contains(aws_vpc_endpoint.s3.route_table_ids, aws_route_table.private.id), false)
    error_message = "The nodes reach S3 through a gateway endpoint, which costs nothing."
  }

  # The cluster.
  assert {
    condition     = aws_eks_cluster.platform.access_config[0].authentication_mode == "API" && !aws_eks_cluster.platform.access_config[0].bootstrap_cluster_creator_admin_permissions
    error_message = "Access entries alone decide who administers the cluster."
  }
  assert {
    condition     = aws_eks_cluster.platform.vpc_config[0].endpoint_private_access && aws_eks_cluster.platform.vpc_config[0].public_access_cidrs == toset(var.api_cidrs)
    error_message = "The cluster answers its nodes inside of the VPC, and from api_cidrs alone outside of it."
  }
  assert {
    condition     = try(contains(aws_eks_cluster.platform.encryption_config[0].resources, "secrets"), false) && aws_eks_cluster.platform.encryption_config[0].provider[0].key_arn == aws_kms_key.platform.arn
    error_message = "The cluster's secrets are encrypted with the platform's key."
  }
  assert {
    condition     = toset(aws_eks_cluster.platform.enabled_cluster_log_types) == toset(["api", "audit", "authenticator", "controllerManager", "scheduler"])
    error_message = "Every log of the control plane is kept."
  }
  assert {
    condition     = toset(aws_eks_node_group.platform.subnet_ids) == toset(["subnet-private"])
    error_message = "Nodes are in the private subnets alone."
  }
  assert {
    condition     = aws_launch_template.node.metadata_options[0].http_tokens == "required" && aws_launch_template.node.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "Pods cannot take the node's own role."
  }
  assert {
    condition     = aws_launch_template.node.block_device_mappings[0].ebs[0].encrypted == "true"
    error_message = "The disks of nodes are encrypted."
  }
  assert {
    condition     = toset(keys(aws_eks_addon.platform)) == toset(["vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent", "aws-ebs-csi-driver"])
    error_message = "The cluster has its five add-ons."
  }
  assert {
    condition     = jsondecode(aws_eks_addon.platform["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "The CNI enforces NetworkPolicies."
  }
  assert {
    condition     = toset([for each in aws_eks_access_policy_association.operator : each.principal_arn]) == toset(var.operators)
    error_message = "The operators administer the cluster, and nobody else."
  }
  assert {
    condition     = aws_kms_key.platform.enable_key_rotation
    error_message = "The key rotates."
  }

  # The bucket.
  assert {
    condition     = aws_s3_bucket_versioning.models.versioning_configuration[0].status == "Enabled" && aws_s3_bucket_versioning.models.bucket == aws_s3_bucket.models.id
    error_message = "The bucket keeps what is overwritten or deleted."
  }
  assert {
    condition     = aws_s3_bucket.models.force_destroy != true
    error_message = "A bucket that holds objects cannot be destroyed."
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.models.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms" && one(one(aws_s3_bucket_server_side_encryption_configuration.models.rule).apply_server_side_encryption_by_default).kms_master_key_id == aws_kms_key.platform.arn
    error_message = "The bucket is encrypted with the platform's key."
  }
  assert {
    condition     = aws_s3_bucket_public_access_block.models.block_public_acls && aws_s3_bucket_public_access_block.models.block_public_policy && aws_s3_bucket_public_access_block.models.ignore_public_acls && aws_s3_bucket_public_access_block.models.restrict_public_buckets
    error_message = "Nothing makes the bucket public."
  }
  assert {
    condition = anytrue([
      for each in jsondecode(aws_s3_bucket_policy.models.policy).Statement :
      each.Effect == "Deny" && each.Principal == "*" && each.Action == "s3:*" && try(each.Condition.Bool["aws:SecureTransport"] == "false", false)
      && toset(each.Resource) == toset([aws_s3_bucket.models.arn, "${aws_s3_bucket.models.arn}/*"])
    ])
    error_message = "The bucket refuses what does not come over TLS."
  }
  assert {
    condition     = alltrue([for each in jsondecode(aws_s3_bucket_policy.models.policy).Statement : each.Effect == "Deny"])
    error_message = "The bucket's own policy gives no rights."
  }
  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_lifecycle_configuration.models.rule :
      length(rule.expiration) == 0 && alltrue([for each in rule.noncurrent_version_expiration : each.noncurrent_days >= 365])
    ])
    error_message = "Current objects never expire, and what they replaced stays for a year."
  }

  # The database.
  assert {
    condition     = aws_db_instance.mlflow.storage_encrypted && aws_db_instance.mlflow.kms_key_id == aws_kms_key.platform.arn
    error_message = "The database is encrypted with the platform's key."
  }
  assert {
    condition     = !aws_db_instance.mlflow.publicly_accessible
    error_message = "The database has no public address."
  }
  assert {
    condition     = aws_db_instance.mlflow.backup_retention_period >= 7 && !aws_db_instance.mlflow.delete_automated_backups
    error_message = "Seven days of backups are kept."
  }
  assert {
    condition     = aws_db_instance.mlflow.deletion_protection
    error_message = "The database is protected from deletion."
  }
  assert {
    condition     = !aws_db_instance.mlflow.skip_final_snapshot && aws_db_instance.mlflow.final_snapshot_identifier != null
    error_message = "A deleted database leaves a snapshot."
  }
  assert {
    condition     = aws_db_instance.mlflow.manage_master_user_password && aws_db_instance.mlflow.password == null
    error_message = "AWS keeps the password; the state does not have it."
  }
  assert {
    condition     = aws_secretsmanager_secret_rotation.mlflow.rotation_rules[0].automatically_after_days == 365 && !aws_secretsmanager_secret_rotation.mlflow.rotate_immediately
    error_message = "The password does not change every week."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.mlflow.referenced_security_group_id == aws_eks_cluster.platform.vpc_config[0].cluster_security_group_id && aws_vpc_security_group_ingress_rule.mlflow.cidr_ipv4 == null && aws_vpc_security_group_ingress_rule.mlflow.from_port == 5432 && aws_vpc_security_group_ingress_rule.mlflow.to_port == 5432
    error_message = "The nodes alone reach the database."
  }

  # The images.
  assert {
    condition     = aws_ecr_repository.modelyard.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.modelyard.image_scanning_configuration[0].scan_on_push
    error_message = "Tags never move, and images are scanned."
  }
  assert {
    condition     = aws_ecr_repository.modelyard.force_delete != true && alltrue([for each in jsondecode(aws_ecr_lifecycle_policy.modelyard.policy).rules : each.selection.tagStatus == "untagged"])
    error_message = "An image with a tag stays."
  }

  # The identity.
  assert {
    condition = toset(keys(aws_eks_pod_identity_association.pod)) == toset([
      "modelyard/modelyard-steps", "modelyard/modelyard-watch", "modelyard/modelyard-judge", "modelyard/mlflow",
      "models-dev/modelyard-server", "models-staging/modelyard-server", "models-production/modelyard-server",
    ])
    error_message = "Each account that reads the bucket has a role, and no other account has one."
  }
  assert {
    condition = alltrue([
      for account, each in aws_eks_pod_identity_association.pod :
      "${each.namespace}/${each.service_account}" == account && each.role_arn == aws_iam_role.pod[account].arn && each.cluster_name == aws_eks_cluster.platform.name
    ])
    error_message = "Each account takes its own role."
  }
  assert {
    condition = alltrue([
      for account, each in aws_iam_role.pod : jsondecode(each.assume_role_policy).Statement[0].Condition.StringEquals == {
        "aws:RequestTag/kubernetes-namespace"       = split("/", account)[0]
        "aws:RequestTag/kubernetes-service-account" = split("/", account)[1]
      } && jsondecode(each.assume_role_policy).Statement[0].Principal == { Service = "pods.eks.amazonaws.com" }
    ])
    error_message = "No other account can take the role of an account."
  }
  assert {
    condition = alltrue(flatten([
      for role in concat(values(aws_iam_role_policy.pod), [aws_iam_role_policy.evidence]) : [
        for statement in jsondecode(role.policy).Statement : statement.Effect == "Allow" && length(setsubtract(
          flatten([statement.Action]),
          ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListBucket", "kms:Decrypt", "kms:GenerateDataKey"],
        )) == 0
      ]
    ]))
    error_message = "No role deletes, and none does anything but read and write objects."
  }
  assert {
    condition = alltrue(flatten([
      for role in concat(values(aws_iam_role_policy.pod), [aws_iam_role_policy.evidence]) : [
        for statement in jsondecode(role.policy).Statement : [
          for resource in flatten([statement.Resource]) :
          startswith(resource, "${aws_s3_bucket.models.arn}/")
          || resource == aws_s3_bucket.models.arn && try(length(statement.Condition.StringLike["s3:prefix"]) > 0, false)
          || resource == aws_kms_key.platform.arn && try(statement.Condition.StringEquals["kms:ViaService"] == "s3.eu-central-1.amazonaws.com", false)
        ]
      ]
    ]))
    error_message = "Roles reach folders of the bucket, and the key through S3 alone."
  }
  assert {
    condition = alltrue([
      for role in concat(values(aws_iam_role_policy.pod), [aws_iam_role_policy.evidence]) :
      anytrue([for each in jsondecode(role.policy).Statement : contains(flatten([each.Action]), "kms:Decrypt")])
      && (strcontains(role.policy, "s3:PutObject") == strcontains(role.policy, "kms:GenerateDataKey"))
    ])
    error_message = "Who reads may decrypt, and who writes may encrypt."
  }
  assert {
    condition = [for each in jsondecode(aws_iam_role.evidence.assume_role_policy).Statement : try(each.Condition.StringEquals, {})] == [{
      "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:sub" = "repo:acme/models:pull_request"
    }]
    error_message = "Only pull requests of this repository read evidence."
  }
  assert {
    condition = [for each in jsondecode(aws_iam_role.evidence.assume_role_policy).Statement : { for kind, value in each.Condition : kind => value if kind != "StringEquals" }] == [{
      StringLike = {
        "token.actions.githubusercontent.com:job_workflow_ref" = "acme/models/.github/workflows/content.yml@refs/pull/*/merge"
      }
    }]
    error_message = "Of the workflows of a pull request, content.yml alone reads evidence."
  }
  assert {
    condition     = aws_iam_role_policy.evidence.role == aws_iam_role.evidence.name && !strcontains(aws_iam_role_policy.evidence.policy, "PutObject")
    error_message = "Workflows of pull requests read, and write nothing."
  }
  assert {
    condition     = toset([for each in aws_iam_role_policy_attachment.node : each.policy_arn]) == toset([for each in ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"] : "arn:aws:iam::aws:policy/${each}"])
    error_message = "Nodes pull images and join the cluster; they do not read the bucket."
  }

  # The budget.
  assert {
    condition     = aws_budgets_budget.monthly.limit_amount == "500" && toset([for each in aws_budgets_budget.monthly.notification : each.notification_type]) == toset(["ACTUAL", "FORECASTED"])
    error_message = "Somebody gets a mail before the budget is gone."
  }

  # The outputs.
  assert {
    condition = {
      bucket       = output.bucket
      image        = output.image
      repository   = output.repository
      tracking_uri = output.tracking_uri
      metrics_uri  = output.metrics_uri
      database     = output.database
      } == {
      bucket       = "modelyard-models-mocked"
      image        = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/modelyard:0.2.0"
      repository   = "https://github.com/acme/models.git"
      tracking_uri = "http://mlflow.modelyard:5000"
      metrics_uri  = "http://prometheus-operated.monitoring:9090"
      database     = "modelyard-mlflow.mocked.eu-central-1.rds.amazonaws.com:5432/mlflow"
    }
    error_message = "The outputs are what the manifests ask a person to fill in."
  }
}

run "a_closed_endpoint" {
  command = plan
  variables {
    api_cidrs = []
  }
  assert {
    condition     = !aws_eks_cluster.platform.vpc_config[0].endpoint_public_access
    error_message = "Without api_cidrs the cluster has no public endpoint."
  }
}

run "what_opens_the_account_too_far_is_refused" {
  command = plan
  variables {
    api_cidrs  = ["0.0.0.0/0"]
    repository = "acme/*"
    operators  = []
  }
  expect_failures = [var.api_cidrs, var.repository, var.operators]
}
