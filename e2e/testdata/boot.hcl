image "boot" {
  linuxkit = ["boot.yml"]
  persist "/var/lib/docker" {
    label = "docker"
  }
}
