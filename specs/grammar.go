package specs

// The language, block by block. The examples are what messages tell people to write.

var rootGrammar = grammar{blocks: map[string]string{
	"variable": "name", "locals": "", "vcenter": "name", "image": "name", "store": "name", "fleet": "name", "reconcile": "",
	"registry": "pattern",
}}

var variableGrammar = grammar{args: map[string]string{
	"default": `6`, "description": `"How many workers"`, "sensitive": `true`,
}}

var vcenterGrammar = grammar{args: map[string]string{
	"url": `env("VCENTER_URL")`, "username": `env("VCENTER_USERNAME")`, "password": `secret_file("/run/secrets/vcenter")`,
	"ca_file": `"ca.pem"`, "thumbprint": `"AB:CD:…"`, "insecure": `true`,
}}

var imageGrammar = grammar{
	args: map[string]string{
		"linuxkit": `["worker.yml"]`, "arch": `"amd64"`, "boot": `["bios", "uefi"]`, "rootfs": `"initrd"`, "compress": `"default"`,
		"efi": `"uki"`, "fetch": `true`,
	},
	need:   []string{"linuxkit"},
	blocks: map[string]string{"persist": "mount", "secure_boot": ""},
}

var secureBootGrammar = grammar{
	args: map[string]string{"key": `"db.key"`, "certificate": `"db.pem"`},
	need: []string{"key", "certificate"},
}

var persistGrammar = grammar{args: map[string]string{
	"label": `"docker"`, "uuid": `"6000c291-…"`, "filesystem": `"ext4"`, "via": `"lkv"`,
}}

var fleetGrammar = grammar{
	args: map[string]string{
		"image": `"worker"`, "channel": `"latest"`, "digest": `"sha256:…"`, "size": `2`, "name": `"wrk-%02d"`,
		"names": `["wrk-a", "wrk-b"]`, "max_age": `"90d"`,
		"heal_after": `"10m"`,
	},
	need: []string{"image"},
	blocks: map[string]string{
		"placement": "", "vm": "", "disk": "name", "drain": "", "ready": "", "rollout": "", "scale_in": "",
	},
}

var placementGrammar = grammar{
	args: map[string]string{
		"vcenter": `"main"`, "datacenter": `"DC1"`, "cluster": `"C1"`, "host": `"esx1.example.net"`,
		"resource_pool": `"C1/Resources/lkv"`, "datastore": `"vm-*"`, "folder": `"lkv/workers"`, "spread": `"host"`,
	},
	need: []string{"datastore"},
}

var vmGrammar = grammar{
	args: map[string]string{
		"cpus": `4`, "memory": `"8GiB"`, "firmware": `"bios"`, "secure_boot": `true`, "guest_id": `"other4xLinux64Guest"`,
		"guestinfo": `{ "lkv.role" = "worker" }`, "extra_config": `{}`, "annotation": `"Docker workers"`,
	},
	blocks: map[string]string{"network": "name"},
}

var networkGrammar = grammar{args: map[string]string{"type": `"vmxnet3"`}}

var diskGrammar = grammar{
	args: map[string]string{
		"size": `"100GiB"`, "mount": `"/var/lib/docker"`, "datastore": `"ssd-*"`, "provisioning": `"thin"`,
	},
	need: []string{"size", "mount"},
}

var drainGrammar = grammar{
	args:   map[string]string{"command": `["./drain.sh"]`, "deadline": `"10m"`, "on_deadline": `"abort"`},
	blocks: map[string]string{"swarm": ""},
}

var swarmGrammar = grammar{
	args: map[string]string{
		"host": `"tcp://mgr:2376"`, "cert_path": `"certs"`, "deadline": `"10m"`, "on_deadline": `"abort"`,
	},
	need: []string{"host"},
}

var readyGrammar = grammar{args: map[string]string{
	"tools": `true`, "mounted": `true`, "tcp": `"2375"`, "http": `"http://{ip}:8080/healthz"`, "swarm": `true`,
	"command": `["./check.sh"]`, "settle": `"30s"`, "timeout": `"10m"`,
}}

var rolloutGrammar = grammar{
	args: map[string]string{
		"strategy": `"in-place"`, "disk": `"hand-over"`, "max_unavailable": `1`, "surge": `1`, "canaries": `1`, "bake": `"5m"`,
		"order": `"ordinal"`, "on_failure": `"pause"`, "max_failed": `1`, "grace": `"2m"`, "progress_deadline": `"30m"`,
		"retire_ttl": `"168h"`,
	},
	blocks: map[string]string{"window": ""},
}

var windowGrammar = grammar{
	args: map[string]string{"days": `"Sat-Sun"`, "from": `"22:00"`, "to": `"05:00"`, "tz": `"Europe/Vienna"`},
	need: []string{"from", "to"},
}

var scaleInGrammar = grammar{args: map[string]string{"max": `"20%"`}, need: []string{"max"}}

var reconcileGrammar = grammar{args: map[string]string{
	"interval": `"5m"`, "suspend": `false`, "claim_ttl": `"2m"`, "listen": `":9180"`, "webhook": `env("WEBHOOK")`,
}}
