image "worker" {
  linuxkit = ["worker.yml"]
  fetch    = true
}
image "a--b" {
  linuxkit = ["worker.yml"]
}
image "a..b" {
  linuxkit = ["worker.yml"]
}
store "none" {
  datacenter = "DC1"
}
store "two" {
  datastore = "iso"
  registry  = "reg.example.net/lkv"
}
store "three" {
  library   = "isos"
  folder    = "lkv"
  transport = "host"
}
store "four" {
  registry   = "reg.example.net/lkv/"
  vcenter    = "main"
  datacenter = "DC1"
  folder     = "lkv"
  transport  = "auto"
}
store "five" {
  registry = "https://reg.example.net/lkv"
}
store "six" {
  registry = "docker.io"
}
store "seven" {
  registry = "docker.io/lkv"
}
store "eight" {
  registry = "reg.example.net/lkv:latest"
}
store "nine" {
  registry = ""
}
store "ten" {
  datastore = null
}
