variable "region" {
  description = "The AWS region."
  type        = string
}

variable "name" {
  description = "The name of the cluster and the prefix of every other name."
  type        = string
  default     = "modelyard"
}

variable "repository" {
  description = "The GitHub repository whose pull requests may read evidence, as owner/name."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.repository))
    error_message = "The repository is one owner and one name, such as acme/models, without *."
  }
}

variable "operators" {
  description = "ARNs of the IAM roles or users that administer the cluster."
  type        = set(string)

  validation {
    condition     = length(var.operators) > 0
    error_message = "Without an operator nobody could ever use the cluster."
  }
}

variable "api_cidrs" {
  description = "Networks from which the cluster's public endpoint answers, such as that of an office."
  type        = set(string)

  validation {
    condition     = alltrue([for each in var.api_cidrs : try(tonumber(split("/", each)[1]) >= 8, false)])
    error_message = "A network has a length of /8 or more: the endpoint is not for everybody."
  }
}

variable "model_namespaces" {
  description = "The namespaces of the environments, as in environments/*/environment.yaml."
  type        = set(string)
  default     = ["models-dev", "models-staging", "models-production"]
}

variable "image_tag" {
  description = "The tag under which a person pushes the image of Containerfile."
  type        = string
  default     = "0.2.0"
}

variable "network" {
  description = "The address range of the VPC; each of its four subnets takes a sixteenth."
  type        = string
  default     = "10.40.0.0/16"
}

variable "kubernetes_version" {
  description = "The version of EKS. One in standard support costs a sixth of one in extended support."
  type        = string
  default     = "1.34"
}

variable "nodes" {
  description = "The worker nodes: type, and how many at least, at first and at most."
  type        = object({ type = string, min = number, desired = number, max = number })
  default     = { type = "m7i.large", min = 2, desired = 3, max = 6 }
}

variable "database_class" {
  description = "The class of MLflow's database."
  type        = string
  default     = "db.t4g.small"
}

variable "budget" {
  description = "US dollars a month, and who gets a mail at 80 % and when the forecast is above."
  type        = object({ limit = number, mail = string })
}
