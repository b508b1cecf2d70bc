variable "pw" {
  default   = "hunter2"
  sensitive = true
}
vcenter "main" {
  url       = "https://root:hunter2@vc.example.net:port"
  pasword   = "hunter2"
  username  = secret_file("secret.txt")
  password  = "x${secret_file("secret.txt")}"
  insecure  = var.pw
  thumbprint = upper(var.pw, 1)
}
