image "worker" { linuxkit = ["a.yml"] arch = "amd64" }
