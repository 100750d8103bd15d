package node

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/google/nftables"
)

// The table that keeps a text, in comments of elements. Each is as long as nft(8) accepts.
const (
	keptTable   = "signpost-config"
	keptSet     = "text"
	keptComment = 120
	keptMost    = 64 << 10 // limit in bytes of a text that is read
)

func keptIn() (*nftables.Table, *nftables.Set) {
	t := &nftables.Table{Name: keptTable, Family: nftables.TableFamilyIPv4}
	return t, &nftables.Set{Table: t, Name: keptSet, KeyType: nftables.TypeMark}
}

// Keep stores a text in the kernel, for as long as this network namespace and its rules exist. It needs
// nf_tables. It writes nothing if the text is stored already.
func Keep(text []byte) error {
	if there, err := Kept(); err == nil && bytes.Equal(there, text) {
		return nil
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netlink socket to netfilter: %w", err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(text) // a buffer never fails
	_ = w.Close()
	var elements []nftables.SetElement
	for piece := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(packed.Bytes())), keptComment) {
		key := binary.NativeEndian.AppendUint32(nil, uint32(len(elements)))
		elements = append(elements, nftables.SetElement{Key: key, Comment: string(piece)})
	}
	t, s := keptIn()
	conn.AddTable(t) // DelTable fails if there is none
	conn.DelTable(t)
	conn.AddTable(t)
	if err := conn.AddSet(s, elements); err != nil {
		return fmt.Errorf("keep a text of %d bytes in table %s: %w", len(text), keptTable, err)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("keep a text of %d bytes in table %s: %w", len(text), keptTable, err)
	}
	return nil
}

// Kept returns the text of the last call of Keep in this network namespace.
func Kept() ([]byte, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to netfilter: %w", err)
	}
	_, s := keptIn()
	elements, err := conn.GetSetElements(s)
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", keptTable, err)
	}
	slices.SortFunc(elements, func(a, b nftables.SetElement) int {
		return int(binary.NativeEndian.Uint32(a.Key)) - int(binary.NativeEndian.Uint32(b.Key))
	})
	var all []byte
	for _, e := range elements {
		all = append(all, e.Comment...)
	}
	r, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(all)))
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w: want a text that a forwarder stored", keptTable, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, keptMost))
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w: want a text that a forwarder stored", keptTable, err)
	}
	return text, nil
}

// Forget removes the text of Keep, if there is one.
func Forget() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netlink socket to netfilter: %w", err)
	}
	list, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("look for table %s: %w", keptTable, err)
	}
	t, _ := keptIn()
	if !slices.ContainsFunc(list, func(o *nftables.Table) bool { return o.Name == keptTable }) {
		return nil
	}
	conn.DelTable(t)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", keptTable, err)
	}
	return nil
}
