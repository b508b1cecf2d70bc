# The least that can be built and booted: lkv build && lkv boot
image "minimal" {
  linuxkit = ["minimal.yml"]
}
