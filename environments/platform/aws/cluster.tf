locals {
  addons = {
    # By default the CNI ignores every NetworkPolicy, those of the platform and of the models.
    vpc-cni                = jsonencode({ enableNetworkPolicy = "true" })
    kube-proxy             = null
    coredns                = null
    eks-pod-identity-agent = null
    # Prometheus asks for a volume and names no class.
    aws-ebs-csi-driver = jsonencode({ defaultStorageClass = { enabled = true } })
  }
}

resource "aws_kms_key" "platform" {
  description             = "${var.name}: the cluster's secrets, the bucket and the database"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  # Without this key nobody can read the bucket or the database again.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_cloudwatch_log_group" "cluster" {
  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = 90
}

resource "aws_eks_cluster" "platform" {
  name                      = var.name
  role_arn                  = aws_iam_role.cluster.arn
  version                   = var.kubernetes_version
  enabled_cluster_log_types = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = false
  }

  encryption_config {
    resources = ["secrets"]

    provider {
      key_arn = aws_kms_key.platform.arn
    }
  }

  upgrade_policy {
    support_type = "STANDARD"
  }

  vpc_config {
    subnet_ids              = [for each in aws_subnet.private : each.id]
    endpoint_private_access = true
    endpoint_public_access  = length(var.api_cidrs) > 0
    public_access_cidrs     = var.api_cidrs
  }

  depends_on = [aws_iam_role_policy_attachment.cluster, aws_cloudwatch_log_group.cluster]
}

resource "aws_eks_node_group" "platform" {
  cluster_name    = aws_eks_cluster.platform.name
  node_group_name = var.name
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = [for each in aws_subnet.private : each.id]
  instance_types  = [var.nodes.type]
  ami_type        = "AL2023_x86_64_STANDARD"

  scaling_config {
    min_size     = var.nodes.min
    desired_size = var.nodes.desired
    max_size     = var.nodes.max
  }

  update_config {
    max_unavailable = 1
  }

  launch_template {
    id      = aws_launch_template.node.id
    version = aws_launch_template.node.latest_version
  }

  depends_on = [aws_iam_role_policy_attachment.node, aws_route.private]
}

# Pods cannot reach the node's own credentials: one hop ends at the node.
resource "aws_launch_template" "node" {
  name_prefix = "${var.name}-"

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size = 50
      volume_type = "gp3"
      encrypted   = "true"
    }
  }
}

resource "aws_eks_addon" "platform" {
  for_each             = local.addons
  cluster_name         = aws_eks_cluster.platform.name
  addon_name           = each.key
  configuration_values = each.value

  # EKS starts a cluster with add-ons of its own; these take their place.
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  dynamic "pod_identity_association" {
    for_each = each.key == "aws-ebs-csi-driver" ? ["ebs-csi-controller-sa"] : []

    content {
      service_account = pod_identity_association.value
      role_arn        = aws_iam_role.volumes.arn
    }
  }

  # Some run as pods, which wait for a node.
  depends_on = [aws_eks_node_group.platform]
}

resource "aws_eks_access_entry" "operator" {
  for_each      = var.operators
  cluster_name  = aws_eks_cluster.platform.name
  principal_arn = each.value
}

resource "aws_eks_access_policy_association" "operator" {
  for_each      = aws_eks_access_entry.operator
  cluster_name  = aws_eks_cluster.platform.name
  principal_arn = each.value.principal_arn
  policy_arn    = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope {
    type = "cluster"
  }
}
