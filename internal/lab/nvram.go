package lab

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// nvram is what the lab keeps of a VM's UEFI variables: a file in the VM's directory on its datastore, as on a host.
// It is made at the first power on, and when somebody has deleted it.
type nvram struct {
	DB [][]byte `json:"db"` // certificates (DER) that Secure Boot trusts beside Microsoft's
}

// keyOption is the beginning of the extraConfig keys that name certificates for a new NVRAM, followed by a number.
const keyOption = "uefi.secureboot.dbdefault.file"

// keyFiles are the files those keys name, by number.
func keyFiles(extra []types.BaseOptionValue) []string {
	files, numbers := map[int]string{}, []int{}
	for _, o := range extra {
		kv := o.GetOptionValue()
		n, found := strings.CutPrefix(strings.ToLower(kv.Key), keyOption)
		i, err := strconv.Atoi(n)
		if name, ok := kv.Value.(string); ok && found && err == nil {
			files[i], numbers = name, append(numbers, i)
		}
	}
	slices.Sort(numbers)
	list := make([]string, len(numbers))
	for i, n := range numbers {
		list[i] = files[n]
	}
	return list
}

// firmware reads the VM's NVRAM, or makes it from what the VM's configuration says now. A host starts a VM whose
// certificate is missing and leaves the certificate out; the lab refuses to, so that nobody relies on it.
func (l *Lab) firmware(v view) (nvram, types.BaseMethodFault) {
	var n nvram
	if v.firmware != "efi" {
		return n, nil
	}
	at := strings.TrimSuffix(v.vmx, path.Ext(v.vmx)) + ".nvram"
	_, local, fault := l.file(v.dc, at)
	if fault != nil {
		return n, fault
	}
	raw, err := os.ReadFile(local)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n, wrapIO(at, err)
	}
	if len(raw) > 0 { // the simulator makes an empty one with the VM
		if err := json.Unmarshal(raw, &n); err != nil {
			return n, &types.FileFault{File: at}
		}
		return n, nil
	}
	for _, name := range v.certs {
		file := path.Dir(at) + "/" + name
		_, cert, fault := l.file(v.dc, file)
		if fault != nil {
			return n, fault
		}
		der, err := os.ReadFile(cert)
		if err != nil {
			return n, wrapIO(file, err)
		}
		n.DB = append(n.DB, der)
	}
	raw, err = json.Marshal(n)
	if err == nil {
		err = os.WriteFile(local, raw, 0o600)
	}
	return n, wrapIO(at, err)
}
