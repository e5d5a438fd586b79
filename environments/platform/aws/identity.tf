# One role for each ServiceAccount that reads the bucket, and only that account may take it. A test
# compares this list with the manifests.
locals {
  platform_accounts = {
    "modelyard/modelyard-steps" = "steps"
    "modelyard/modelyard-watch" = "watch"
    "modelyard/modelyard-judge" = "judge"
    "modelyard/mlflow"          = "mlflow"
  }
  server_accounts = { for each in var.model_namespaces : "${each}/modelyard-server" => "server" }
  accounts = {
    for account, policy in merge(local.platform_accounts, local.server_accounts) : account => {
      namespace = split("/", account)[0]
      name      = split("/", account)[1]
      policy    = policy
    }
  }
  policy_values = { bucket = aws_s3_bucket.models.arn, key = aws_kms_key.platform.arn, region = var.region }
}

resource "aws_iam_role" "pod" {
  for_each = local.accounts
  name     = "${var.name}-${replace(each.key, "/", "-")}"
  assume_role_policy = templatefile("${path.module}/policies/trust-pods.json", {
    namespace = each.value.namespace
    account   = each.value.name
  })
}

resource "aws_iam_role_policy" "pod" {
  for_each = local.accounts
  name     = each.value.policy
  role     = aws_iam_role.pod[each.key].name
  policy   = templatefile("${path.module}/policies/${each.value.policy}.json", local.policy_values)
}

resource "aws_eks_pod_identity_association" "pod" {
  for_each        = local.accounts
  cluster_name    = aws_eks_cluster.platform.name
  namespace       = each.value.namespace
  service_account = each.value.name
  role_arn        = aws_iam_role.pod[each.key].arn
}

# content.yml of this repository's pull requests computes verdicts again, from evidence alone.
resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "evidence" {
  name = "${var.name}-evidence"
  assume_role_policy = templatefile("${path.module}/policies/trust-github.json", {
    provider   = aws_iam_openid_connect_provider.github.arn
    repository = var.repository
  })
}

resource "aws_iam_role_policy" "evidence" {
  name   = "evidence"
  role   = aws_iam_role.evidence.name
  policy = templatefile("${path.module}/policies/evidence.json", local.policy_values)
}

# What EKS itself needs.
resource "aws_iam_role" "cluster" {
  name               = "${var.name}-cluster"
  assume_role_policy = templatefile("${path.module}/policies/trust-service.json", { service = "eks.amazonaws.com" })
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_iam_role" "node" {
  name               = "${var.name}-node"
  assume_role_policy = templatefile("${path.module}/policies/trust-service.json", { service = "ec2.amazonaws.com" })
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])
  role       = aws_iam_role.node.name
  policy_arn = "arn:aws:iam::aws:policy/${each.value}"
}

# Prometheus keeps its samples on a volume.
resource "aws_iam_role" "volumes" {
  name = "${var.name}-volumes"
  assume_role_policy = templatefile("${path.module}/policies/trust-pods.json", {
    namespace = "kube-system"
    account   = "ebs-csi-controller-sa"
  })
}

resource "aws_iam_role_policy_attachment" "volumes" {
  role       = aws_iam_role.volumes.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
}
