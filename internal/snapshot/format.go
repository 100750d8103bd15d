package snapshot

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// magic is the first line of every file, so that users recognize it. Increase the number if
// the same bytes get a new meaning. A model of a different shape needs no new number: see
// Header.Model.
const (
	magicWords = "signpost snapshot "
	magic      = magicWords + "2\n"
)

// largest is more than any cluster needs (250,000 endpoints: 14 MB), and small enough to
// read into memory.
const largest = 1 << 30

// Header describes the contents of a snapshot.
type Header struct {
	Model    string    // the shape of the model that was written
	Identity string    // what fed the Store
	Written  time.Time // by the clock of the machine
	Heard    time.Time // when the source last confirmed what is in it
	Version  uint64    // of the Store
	Objects  int       // how many follow
}

// record holds one object: one field for each kind of the model.
type record struct {
	Service     *cluster.Service
	Slice       *cluster.Slice
	Namespace   *cluster.Namespace
	Pod         *cluster.Pod
	Node        *cluster.Node
	ServiceCIDR *cluster.ServiceCIDR
	Import      *cluster.Service // of a ServiceImport
	Imported    *cluster.Slice   // of an ImportedSlice
}

// recordOf wraps an object. TestEveryKindIsWritten fails if a kind is missing.
func recordOf(o cluster.Object) (record, error) {
	switch o := o.(type) {
	case *cluster.Service:
		return record{Service: o}, nil
	case *cluster.Slice:
		return record{Slice: o}, nil
	case *cluster.Namespace:
		return record{Namespace: o}, nil
	case *cluster.Pod:
		return record{Pod: o}, nil
	case *cluster.Node:
		return record{Node: o}, nil
	case *cluster.ServiceCIDR:
		return record{ServiceCIDR: o}, nil
	case *cluster.ServiceImport:
		return record{Import: o.Service}, nil
	case *cluster.ImportedSlice:
		return record{Imported: o.Slice}, nil
	}
	return record{}, fmt.Errorf("writing a %T: this format has no place for it", o)
}

// object unwraps a record. It returns nil if the record holds no known kind.
func (r *record) object() cluster.Object {
	switch {
	case r.Service != nil:
		return r.Service
	case r.Slice != nil:
		return remade(r.Slice)
	case r.Namespace != nil:
		return r.Namespace
	case r.Pod != nil:
		return r.Pod
	case r.Node != nil:
		return r.Node
	case r.ServiceCIDR != nil:
		return r.ServiceCIDR
	case r.Import != nil:
		return &cluster.ServiceImport{Service: r.Import}
	case r.Imported != nil:
		return &cluster.ImportedSlice{Slice: remade(r.Imported)}
	}
	return nil
}

// remade creates a slice again, which sorts and counts its endpoints.
func remade(s *cluster.Slice) *cluster.Slice {
	made := cluster.NewSlice(s.Key, s.Service, s.Version, s.Ports, s.Endpoints)
	made.Cluster = s.Cluster
	return made
}

// encode writes a snapshot, object after object.
func encode(w io.Writer, h Header, objects []cluster.Object) error {
	sum := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	if _, err := buffered.WriteString(magic); err != nil {
		return err
	}
	h.Model, h.Objects = model, len(objects)
	out := gob.NewEncoder(buffered)
	if err := out.Encode(&h); err != nil {
		return err
	}
	for _, o := range objects {
		r, err := recordOf(o)
		if err == nil {
			err = out.Encode(&r)
		}
		if err != nil {
			return fmt.Errorf("%v %v: %w", o.Ref().Kind, o.Ref().Key, err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// Reason is why a snapshot was not used. It is a label of metrics.
type Reason string

// The reasons, and the label of a snapshot that was used.
const (
	Taken      Reason = "taken"
	None       Reason = "none"       // there is no file
	Unreadable Reason = "unreadable" // reading it failed
	Damaged    Reason = "damaged"    // empty, cut off, changed, or no snapshot at all
	Format     Reason = "format"     // of another version of the format or the model
	Foreign    Reason = "foreign"    // of another source
	Old        Reason = "old"        // its data are too old
)

// Reasons lists all reasons.
var Reasons = []Reason{Taken, None, Unreadable, Damaged, Format, Foreign, Old}

// Refusal is the error of a snapshot that is not used.
type Refusal struct {
	Reason Reason
	Err    error
}

// Error implements error.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(reason Reason, format string, args ...any) error {
	return &Refusal{reason, fmt.Errorf(format, args...)}
}

// decode reads a snapshot of that many bytes. It checks the sum before it decodes anything,
// and returns nothing unless everything is valid. accept may refuse a snapshot by its
// header, before its objects are read.
func decode(file io.ReadSeeker, size int64, accept func(*Header) error) (*Header, []cluster.Object, error) {
	body, err := verify(file, size)
	if err != nil {
		return nil, nil, err
	}
	in := gob.NewDecoder(body)
	h, err := readHeader(in)
	if err == nil {
		err = accept(h)
	}
	if err != nil {
		return nil, nil, err
	}
	var objects []cluster.Object
	check := newChecker()
	for {
		var r record
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, nil, refuse(Damaged, "object %d of %d: %w", len(objects)+1, h.Objects, err)
		}
		o := r.object()
		if err := check.object(o); err != nil {
			return nil, nil, refuse(Damaged, "object %d of %d: %w", len(objects)+1, h.Objects, err)
		}
		objects = append(objects, o)
	}
	if len(objects) != h.Objects {
		return nil, nil, refuse(Damaged, "it has %d objects: want %d, as it says itself", len(objects), h.Objects)
	}
	return h, objects, nil
}

func readHeader(in *gob.Decoder) (*Header, error) {
	h := &Header{}
	if err := in.Decode(h); err != nil {
		return nil, refuse(Damaged, "its header: %w", err)
	}
	if h.Model != model {
		return nil, refuse(Format, "it was written by another version of Signpost: want one of this version's model")
	}
	return h, nil
}

// verify checks the first line and the sum, and returns the bytes between them.
func verify(file io.ReadSeeker, size int64) (io.Reader, error) {
	body := size - sha256.Size
	switch {
	case size == 0:
		return nil, refuse(Damaged, "it is empty")
	case size > largest:
		return nil, refuse(Damaged, "it has %d bytes: want at most %d", size, int64(largest))
	}
	if err := readMagic(file); err != nil {
		return nil, err
	}
	if body < int64(len(magic)) {
		return nil, refuse(Damaged, "it is cut off: it has %d bytes", size)
	}
	sum := sha256.New()
	sum.Write([]byte(magic))
	if _, err := io.CopyN(sum, file, body-int64(len(magic))); err != nil {
		return nil, refuse(Unreadable, "reading it: %w", err)
	}
	var want [sha256.Size]byte
	if _, err := io.ReadFull(file, want[:]); err != nil {
		return nil, refuse(Unreadable, "reading its sum: %w", err)
	}
	if !bytes.Equal(sum.Sum(nil), want[:]) {
		return nil, refuse(Damaged, "it is cut off or was changed: its SHA-256 sum is not that of its content")
	}
	if _, err := file.Seek(int64(len(magic)), io.SeekStart); err != nil {
		return nil, refuse(Unreadable, "reading it: %w", err)
	}
	return bufio.NewReaderSize(io.LimitReader(file, body-int64(len(magic))), 64<<10), nil
}

// readMagic reads the first line.
func readMagic(file io.Reader) error {
	first := make([]byte, len(magic))
	n, err := io.ReadFull(file, first)
	switch text := string(first[:n]); {
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return refuse(Unreadable, "reading it: %w", err)
	case text == magic:
		return nil
	case strings.HasPrefix(text, magicWords) && n == len(magic):
		return refuse(Format, "its format is %q: want %q", strings.TrimSpace(text), strings.TrimSpace(magic))
	case strings.HasPrefix(magic, text):
		return refuse(Damaged, "it is cut off: it has %d bytes", n)
	}
	return refuse(Damaged, "it is no snapshot: want one that begins with %q", strings.TrimSpace(magic))
}
