# Releases pin images by digest, so a tag never moves and an image that has a tag stays.
resource "aws_ecr_repository" "modelyard" {
  name                 = var.name
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_ecr_lifecycle_policy" "modelyard" {
  repository = aws_ecr_repository.modelyard.name
  policy     = file("${path.module}/policies/images.json")
}
