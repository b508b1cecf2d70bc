image "a" {
  linuxkit = ["a.yml"]
}
