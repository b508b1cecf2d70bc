image "boot" {
  linuxkit = ["boot.yml"]
  rootfs   = "ROOTFS"
  persist "/var/lib/docker" {
    label = "docker"
  }
}
