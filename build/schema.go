package build

// kind is what a YAML value may be.
type kind int

const (
	aString kind = iota
	aBool
	anInt
	anID // a name or a number
	someStrings
	someIDs
	aMap    // string -> string
	anObj   // object with fields of its own
	objects // list of such
)

// field is one key of the LinuxKit YAML.
type field struct {
	kind   kind
	fields object // of anObj and objects
}

// object is the set of keys an object may have.
type object map[string]field

func many(names ...string) func(kind) object {
	return func(k kind) object {
		o := object{}
		for _, n := range names {
			o[n] = field{kind: k}
		}
		return o
	}
}

func join(list ...object) object {
	out := object{}
	for _, o := range list {
		for k, f := range o {
			out[k] = f
		}
	}
	return out
}

func one(name string, o object) object  { return object{name: {kind: anObj, fields: o}} }
func list(name string, o object) object { return object{name: {kind: objects, fields: o}} }

// The keys LinuxKit knows, written down from its documentation (docs/yaml.md) and compared by a test with what
// the moby package accepts; "volumes" came later and never reaches it.
var (
	mountFields   = join(many("destination", "type", "source")(aString), many("options")(someStrings))
	mappingFields = many("hostID", "containerID", "size")(anInt)
	throttle      = many("major", "minor", "rate")(anInt)

	resourceFields = join(
		list("devices", join(many("allow")(aBool), many("type", "access")(aString), many("major", "minor")(anInt))),
		one("memory", join(many("limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness")(anInt), many("disableOOMKiller")(aBool))),
		one("cpu", join(many("shares", "quota", "period", "realtimeRuntime", "realtimePeriod")(anInt), many("cpus", "mems")(aString))),
		one("pids", many("limit")(anInt)),
		one("blockio", join(many("weight", "leafWeight")(anInt),
			list("weightDevice", many("major", "minor", "weight", "leafWeight")(anInt)),
			list("throttleReadBpsDevice", throttle), list("throttleWriteBpsDevice", throttle),
			list("throttleReadIOPSDevice", throttle), list("throttleWriteIOPSDevice", throttle))),
		list("hugepageLimits", join(many("pageSize", "limit")(anInt))),
		one("network", join(many("classID")(anInt),
			list("priorities", join(many("name")(aString), many("priority")(anInt))))),
	)

	runtimeFields = join(
		many("cgroups", "mkdir")(someStrings), many("namespace")(aString), list("mounts", mountFields),
		list("interfaces", join(many("name", "add", "peer")(aString), many("createInRoot")(aBool))),
		one("bindNS", many("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")(aString)),
	)

	// configFields are what an image's org.mobyproject.config label may hold.
	configFields = join(
		many("capabilities", "capabilities.add", "ambient", "binds", "binds.add", "tmpfs", "command", "env",
			"maskedPaths", "readonlyPaths", "rlimits")(someStrings),
		many("cwd", "net", "pid", "ipc", "uts", "userns", "hostname", "rootfsPropagation", "cgroupsPath")(aString),
		many("readonly", "noNewPrivileges")(aBool), many("oomScoreAdj")(anInt),
		many("uid", "gid")(anID), many("additionalGids")(someIDs), many("sysctl", "annotations")(aMap),
		list("mounts", mountFields), list("uidMappings", mappingFields), list("gidMappings", mappingFields),
		list("devices", join(many("path", "type", "mode")(aString), many("major", "minor")(anInt))),
		one("resources", resourceFields), one("runtime", runtimeFields),
	)

	imageFields = join(configFields, many("name", "image")(aString))

	fileFields = join(many("path", "symlink", "contents", "source", "metadata", "mode")(aString),
		many("directory", "optional")(aBool), many("uid", "gid")(anID))

	topFields = join(
		one("kernel", many("image", "cmdline", "binary", "tar", "ucode")(aString)),
		many("init")(someStrings),
		list("onboot", imageFields), list("onshutdown", imageFields), list("services", imageFields),
		list("files", fileFields),
		one("trust", many("image", "org")(someStrings)),
		list(volumes, join(many("name", "image", "format")(aString), many("readonly")(aBool), many("platforms")(someStrings))),
	)
)
