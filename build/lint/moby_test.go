package lint

import (
	"fmt"
	"strings"
	"testing"

	"github.com/linuxkit/linuxkit/src/cmd/linuxkit/moby"
	"gopkg.in/yaml.v3"
)

// lossOf asks moby whether a key of a service makes a difference.
func lossOf(t *testing.T, where, key string) bool {
	t.Helper()
	value := "7"
	switch key {
	case "disableOOMKiller":
		value = "true"
	case "cpus", "mems":
		value = `"7"`
	case "weightDevice":
		value = "[{major: 7, minor: 7, weight: 7}]"
	case "hugepageLimits":
		value = "[{pageSize: 7, limit: 7}]"
	}
	if strings.HasPrefix(key, "throttle") {
		value = "[{major: 7, minor: 7, rate: 7}]"
	}
	with, without := fmt.Sprintf("{%s: %s}", key, value), "{}"
	steps := strings.Split(where, ".")
	for i := len(steps) - 1; i >= 0; i-- {
		if strings.HasSuffix(where, "Mappings") {
			with, without = "["+with+"]", "["+without+"]"
		}
		with, without = fmt.Sprintf("{%s: %s}", steps[i], with), fmt.Sprintf("{%s: %s}", steps[i], without)
	}
	return read(t, with) == read(t, without)
}

func read(t *testing.T, fields string) string {
	t.Helper()
	m, err := moby.NewConfig([]byte("services:\n  - <<: "+fields+"\n    name: a\n    image: a\n"), nil)
	if err != nil {
		t.Fatalf("%s: %v", fields, err)
	}
	out, err := yaml.Marshal(m.Services[0].ImageConfig)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
