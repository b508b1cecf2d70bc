package persist

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// tail is left free at the end of a disk: the file system ends before it. In it lies the note.
const tail = 1 << 20

// Note says that this program has begun to format the disk and has not yet seen the result to be good. It is written
// before mkfs and removed after the file system was checked, and before it is ever mounted. So a disk with a note
// holds nothing of anybody, whatever a power cut left on it.
type Note struct {
	Serial     string `json:"serial"` // normalized serial of the disk it was written on: a copy elsewhere means nothing
	Size       int64  `json:"size"`   // of the disk, in bytes
	Label      string `json:"label"`
	UUID       string `json:"uuid"` // of the file system that mkfs was told to make
	Filesystem string `json:"filesystem"`
}

var noteMagic = []byte("lkv formatting 1")

// notePlace is where the note lies: in the middle of the tail, away from where backup partition tables are.
func notePlace(size int64) int64 { return (size - tail/2) / sample * sample }

// encode makes one block of 4 KiB: magic, length, JSON, SHA-256 of all before, zeros.
func (n Note) encode() ([]byte, error) {
	data, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("write note: %w", err)
	}
	var b bytes.Buffer
	b.Write(noteMagic)
	_ = binary.Write(&b, binary.LittleEndian, uint32(len(data)))
	b.Write(data)
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	if b.Len() > sample {
		return nil, fmt.Errorf("write note: %d bytes do not fit", b.Len())
	}
	return append(b.Bytes(), make([]byte, sample-b.Len())...), nil
}

// parseNote reads a block. Anything that is not exactly a note is none.
func parseNote(block []byte) (Note, bool) {
	head := len(noteMagic) + 4
	if len(block) < head || !bytes.Equal(block[:len(noteMagic)], noteMagic) {
		return Note{}, false
	}
	n := int64(binary.LittleEndian.Uint32(block[len(noteMagic):]))
	end := int64(head) + n
	if end+sha256.Size > int64(len(block)) {
		return Note{}, false
	}
	sum := sha256.Sum256(block[:end])
	if !bytes.Equal(sum[:], block[end:end+sha256.Size]) {
		return Note{}, false
	}
	var note Note
	if err := json.Unmarshal(block[head:end], &note); err != nil {
		return Note{}, false
	}
	return note, true
}

// readNote returns the note of a disk, if it is there and was written on this disk in this size.
func readNote(r io.ReaderAt, d Disk) (*Note, error) {
	if d.Size < 2*edge {
		return nil, nil
	}
	block := make([]byte, sample)
	if _, err := r.ReadAt(block, notePlace(d.Size)); err != nil {
		return nil, fmt.Errorf("read note: %w", err)
	}
	n, ok := parseNote(block)
	if !ok || n.Serial != d.Serial() || n.Size != d.Size {
		return nil, nil
	}
	return &n, nil
}
