"""Mistakes that somebody could make in the configuration, and what must say so."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of one file.

    Args:
        title: The mistake.
        file: Below environments/platform/aws.
        old: A text that the file has once.
        new: What replaces it.
        said: What the refusal contains.
    """

    title: str
    file: str
    old: str
    new: str
    said: str


def _mutant(title: str, file: str, old: str, new: str, said: str) -> Mutant:
    return Mutant(title=title, file=file, old=old, new=new, said=said)


# What the schema refuses: `tofu validate`.
OF_THE_SCHEMA = (
    _mutant(
        "a misspelled argument",
        "network.tf",
        "enable_dns_hostnames =",
        "enable_dns_hostname =",
        'An argument named "enable_dns_hostname" is not expected here',
    ),
    _mutant(
        "a type that is not there",
        "images.tf",
        'resource "aws_ecr_lifecycle_policy" "modelyard"',
        'resource "aws_ecr_lifecycle" "modelyard"',
        'does not support resource type "aws_ecr_lifecycle"',
    ),
    _mutant(
        "a required argument is missing",
        "tracking.tf",
        "  instance_class              = var.database_class\n",
        "",
        'The argument "instance_class" is required',
    ),
    _mutant(
        "a required block is missing",
        "storage.tf",
        '  versioning_configuration {\n    status = "Enabled"\n  }\n',
        "",
        'At least 1 "versioning_configuration" blocks are required',
    ),
    _mutant(
        "a wrong type",
        "tracking.tf",
        "allocated_storage           = 20",
        'allocated_storage           = "much"',
        'Inappropriate value for attribute "allocated_storage"',
    ),
    _mutant(
        "a block for an attribute",
        "network.tf",
        "  tags                 = { Name = var.name }",
        "  tags {\n    Name = var.name\n  }",
        'Blocks of type "tags" are not expected here',
    ),
    _mutant(
        "an attribute for a block",
        "cluster.tf",
        "  update_config {\n    max_unavailable = 1\n  }",
        "  update_config = { max_unavailable = 1 }",
        'An argument named "update_config" is not expected here',
    ),
    _mutant(
        "a block twice",
        "cluster.tf",
        "  update_config {\n    max_unavailable = 1\n  }\n",
        "  update_config {\n    max_unavailable = 1\n  }\n"
        "  update_config {\n    max_unavailable = 2\n  }\n",
        'No more than 1 "update_config" blocks are allowed',
    ),
    _mutant(
        "an attribute that is not there",
        "outputs.tf",
        "aws_ecr_repository.modelyard.repository_url",
        "aws_ecr_repository.modelyard.repository_uri",
        'has no argument, nested block, or exported attribute named "repository_uri"',
    ),
    _mutant(
        "a resource that is not there",
        "tracking.tf",
        "aws_db_subnet_group.mlflow.name",
        "aws_db_subnet_group.mlflows.name",
        "Reference to undeclared resource",
    ),
    _mutant(
        "an argument of an older provider",
        "network.tf",
        '  domain     = "vpc"',
        "  vpc        = true",
        'An argument named "vpc" is not expected here',
    ),
    _mutant(
        "an argument that AWS decides",
        "cluster.tf",
        "  deletion_window_in_days = 30",
        '  deletion_window_in_days = 30\n  key_id                  = "mine"',
        "key_id is decided by AWS, and cannot be set",
    ),
    _mutant(
        "a name in place of an ARN",
        "identity.tf",
        '  policy_arn = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"',
        '  policy_arn = "AmazonEKSClusterPolicy"',
        "which is no ARN",
    ),
)

# What an assertion of tests/platform.tftest.hcl refuses: `tofu test`.
OF_THE_TESTS = (
    _mutant(
        "an unencrypted database",
        "tracking.tf",
        "storage_encrypted           = true",
        "storage_encrypted           = false",
        "The database is encrypted with the platform's key.",
    ),
    _mutant(
        "a public database",
        "tracking.tf",
        "publicly_accessible         = false",
        "publicly_accessible         = true",
        "The database has no public address.",
    ),
    _mutant(
        "no backups",
        "tracking.tf",
        "backup_retention_period     = 7",
        "backup_retention_period     = 0",
        "Seven days of backups are kept.",
    ),
    _mutant(
        "backups deleted with the database",
        "tracking.tf",
        "delete_automated_backups    = false",
        "delete_automated_backups    = true",
        "Seven days of backups are kept.",
    ),
    _mutant(
        "deletion protection off",
        "tracking.tf",
        "deletion_protection         = true",
        "deletion_protection         = false",
        "The database is protected from deletion.",
    ),
    _mutant(
        "no final snapshot",
        "tracking.tf",
        "skip_final_snapshot         = false",
        "skip_final_snapshot         = true",
        "A deleted database leaves a snapshot.",
    ),
    _mutant(
        "a password in the state",
        "tracking.tf",
        "manage_master_user_password = true",
        'manage_master_user_password = false\n  password                    = "secret"',
        "AWS keeps the password; the state does not have it.",
    ),
    _mutant(
        "a password that changes every week",
        "tracking.tf",
        "automatically_after_days = 365",
        "automatically_after_days = 7",
        "The password does not change every week.",
    ),
    _mutant(
        "a database for the whole internet",
        "tracking.tf",
        "  referenced_security_group_id = "
        "aws_eks_cluster.platform.vpc_config[0].cluster_security_group_id",
        '  cidr_ipv4                    = "0.0.0.0/0"',
        "The nodes alone reach the database.",
    ),
    _mutant(
        "tags that move",
        "images.tf",
        '"IMMUTABLE"',
        '"MUTABLE"',
        "Tags never move, and images are scanned.",
    ),
    _mutant(
        "images not scanned",
        "images.tf",
        "scan_on_push = true",
        "scan_on_push = false",
        "Tags never move, and images are scanned.",
    ),
    _mutant(
        "images with a tag expire",
        "policies/images.json",
        '"untagged"',
        '"any"',
        "An image with a tag stays.",
    ),
    _mutant(
        "a public bucket",
        "storage.tf",
        "block_public_policy     = true",
        "block_public_policy     = false",
        "Nothing makes the bucket public.",
    ),
    _mutant(
        "public access lists",
        "storage.tf",
        "ignore_public_acls      = true",
        "ignore_public_acls      = false",
        "Nothing makes the bucket public.",
    ),
    _mutant(
        "no versions of objects",
        "storage.tf",
        '    status = "Enabled"\n  }\n}',
        '    status = "Suspended"\n  }\n}',
        "The bucket keeps what is overwritten or deleted.",
    ),
    _mutant(
        "a bucket that destroys what it holds",
        "storage.tf",
        '  bucket_prefix = "${var.name}-models-"',
        '  bucket_prefix = "${var.name}-models-"\n  force_destroy = true',
        "A bucket that holds objects cannot be destroyed.",
    ),
    _mutant(
        "an unencrypted bucket",
        "storage.tf",
        '"aws:kms"',
        '"AES256"',
        "The bucket is encrypted with the platform's key.",
    ),
    _mutant(
        "requests without TLS",
        "policies/bucket.json",
        '"aws:SecureTransport": "false"',
        '"aws:SecureTransport": "true"',
        "The bucket refuses what does not come over TLS.",
    ),
    _mutant(
        "a bucket that everybody reads",
        "policies/bucket.json",
        '"Effect": "Deny"',
        '"Effect": "Allow"',
        "The bucket's own policy gives no rights.",
    ),
    _mutant(
        "objects that expire",
        "storage.tf",
        "    noncurrent_version_expiration {",
        "    expiration {\n      days = 90\n    }\n\n    noncurrent_version_expiration {",
        "Current objects never expire",
    ),
    _mutant(
        "a week to restore in",
        "storage.tf",
        "noncurrent_days = 365",
        "noncurrent_days = 7",
        "Current objects never expire",
    ),
    _mutant(
        "an endpoint open to everybody",
        "cluster.tf",
        "public_access_cidrs     = var.api_cidrs",
        'public_access_cidrs     = ["0.0.0.0/0"]',
        "from api_cidrs alone outside of it",
    ),
    _mutant(
        "secrets of the cluster in the clear",
        "cluster.tf",
        'resources = ["secrets"]',
        "resources = []",
        "The cluster's secrets are encrypted with the platform's key.",
    ),
    _mutant(
        "no audit log",
        "cluster.tf",
        '"api", "audit", "authenticator"',
        '"api", "authenticator"',
        "Every log of the control plane is kept.",
    ),
    _mutant(
        "whoever creates the cluster administers it",
        "cluster.tf",
        "bootstrap_cluster_creator_admin_permissions = false",
        "bootstrap_cluster_creator_admin_permissions = true",
        "Access entries alone decide",
    ),
    _mutant(
        "pods that take the node's role",
        "cluster.tf",
        "http_put_response_hop_limit = 1",
        "http_put_response_hop_limit = 2",
        "Pods cannot take the node's own role.",
    ),
    _mutant(
        "NetworkPolicies that nobody enforces",
        "cluster.tf",
        'enableNetworkPolicy = "true"',
        'enableNetworkPolicy = "false"',
        "The CNI enforces NetworkPolicies.",
    ),
    _mutant(
        "nodes with public addresses",
        "cluster.tf",
        "  subnet_ids      = [for each in aws_subnet.private : each.id]\n  instance_types",
        "  subnet_ids      = [for each in aws_subnet.public : each.id]\n  instance_types",
        "Nodes are in the private subnets alone.",
    ),
    _mutant(
        "subnets that overlap",
        "network.tf",
        "2 + tonumber(each.key)",
        "tonumber(each.key)",
        "The four subnets have four address ranges.",
    ),
    _mutant(
        "objects through the NAT gateway",
        "network.tf",
        "route_table_ids   = [aws_route_table.private.id]",
        "route_table_ids   = []",
        "The nodes reach S3 through a gateway endpoint",
    ),
    _mutant(
        "an association missing",
        "identity.tf",
        '    "modelyard/modelyard-judge" = "judge"\n',
        "",
        "Each account that reads the bucket has a role",
    ),
    _mutant(
        "a role that every account may take",
        "policies/trust-pods.json",
        '"aws:RequestTag/kubernetes-namespace": "${namespace}",\n',
        "",
        "No other account can take the role of an account.",
    ),
    _mutant(
        "a role that may delete",
        "policies/steps.json",
        '"s3:AbortMultipartUpload"',
        '"s3:AbortMultipartUpload",\n        "s3:DeleteObject"',
        "No role deletes",
    ),
    _mutant(
        "a role for the whole bucket",
        "policies/server.json",
        '"${bucket}/artifacts/models/*"',
        '"*"',
        "Roles reach folders of the bucket, and the key through S3 alone.",
    ),
    _mutant(
        "a role that cannot decrypt",
        "policies/watch.json",
        '"kms:Decrypt"',
        '"kms:GenerateDataKey"',
        "Who reads may decrypt, and who writes may encrypt.",
    ),
    _mutant(
        "OIDC trust without sub",
        "policies/trust-github.json",
        ',\n          "token.actions.githubusercontent.com:sub": "repo:${repository}:pull_request"',
        "",
        "Only pull requests of this repository read evidence.",
    ),
    _mutant(
        "OIDC trust with any sub",
        "policies/trust-github.json",
        '"repo:${repository}:pull_request"',
        '"*"',
        "Only pull requests of this repository read evidence.",
    ),
    _mutant(
        "an OIDC trust in every workflow of a pull request",
        "policies/trust-github.json",
        "/.github/workflows/content.yml@",
        "/.github/workflows/*@",
        "Of the workflows of a pull request, content.yml alone reads evidence.",
    ),
    _mutant(
        "pull requests that write evidence",
        "policies/evidence.json",
        '"s3:GetObject"',
        '"s3:GetObject",\n        "s3:PutObject"',
        "Workflows of pull requests read, and write nothing.",
    ),
    _mutant(
        "nodes that read the bucket",
        "identity.tf",
        '"AmazonEC2ContainerRegistryPullOnly"',
        '"AmazonS3ReadOnlyAccess"',
        "they do not read the bucket",
    ),
    _mutant(
        "no mail before the budget is gone",
        "budget.tf",
        "{ ACTUAL = 80, FORECASTED = 100 }",
        "{ ACTUAL = 80 }",
        "Somebody gets a mail before the budget is gone.",
    ),
    _mutant(
        "an output with another address",
        "outputs.tf",
        "http://mlflow.modelyard:5000",
        "http://mlflow:5000",
        "The outputs are what the manifests ask a person to fill in.",
    ),
    _mutant(
        "an endpoint for everybody",
        "variables.tf",
        'try(tonumber(split("/", each)[1]) >= 8, false)',
        'try(tonumber(split("/", each)[1]) >= 0, false)',
        "var.api_cidrs, was expected to report an error but did not",
    ),
    _mutant(
        "a pattern of repositories",
        "variables.tf",
        "[A-Za-z0-9._-]+$",
        "[A-Za-z0-9._*-]+$",
        "var.repository, was expected to report an error but did not",
    ),
    _mutant(
        "a cluster without operators",
        "variables.tf",
        "length(var.operators) > 0",
        "length(var.operators) >= 0",
        "var.operators, was expected to report an error but did not",
    ),
)

# What only one plan at a time can show.
OF_THE_PLAN = (
    _mutant(
        "a network that is none", "variables.tf", '"10.40.0.0/16"', '"10.40.0.0/33"', "10.40.0.0/33"
    ),
    _mutant(
        "a policy that is no JSON",
        "policies/steps.json",
        '"Version": "2012-10-17",',
        '"Version": "2012-10-17"',
        'Call to function "jsondecode" failed',
    ),
)

# What needs the real provider: the job `infrastructure` on GitHub has it. `tofu validate` there
# refuses the first two, where their values are known; the third shows only when AWS is asked.
GAPS = (
    _mutant(
        "a value that is not in an enumeration",
        "storage.tf",
        '    status = "Enabled"\n    filter {}',
        '    status = "On"\n    filter {}',
        "",
    ),
    _mutant(
        "arguments that exclude each other",
        "cluster.tf",
        '  name_prefix = "${var.name}-"',
        '  name_prefix = "node-"\n  name        = "node"',
        "",
    ),
    _mutant(
        "a class that AWS does not have", "variables.tf", '"db.t4g.small"', '"db.t4g.tiny"', ""
    ),
)
