variable "a" {}
variable "n" {
  default = 1
}
variable "n" {
  default = 1
}
locals {
  x = local.y
  y = local.x
  z = var.nope
  w = nofunc("x")
  v = file("missing.txt")
}
image "worker" {
  linuxkit = [var.n ? "a" : "b"]
}
