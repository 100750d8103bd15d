package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// inode is one file, folder or link of an image. Everything belongs to root and is as old as the epoch, so
// that the same contents make the same image.
type inode struct {
	path string // in the image, without a slash at its begin; a folder's ends in one
	mode int64  // permissions, with the sticky bit
	link string // target of a symbolic link
	from string // file of this machine that holds the contents; if empty they are text
	text string
	// Capabilities that a program has when it is run, as `setcap …=+ep` gives them (capabilities(7)).
	capabilities []uint
}

func dirInode(path string) inode          { return inode{path: path + "/", mode: 0o755} }
func linkInode(path, target string) inode { return inode{path: path, link: target, mode: 0o777} }
func textInode(path, text string) inode   { return inode{path: path, text: text, mode: 0o644} }
func fileInode(path, from string) inode   { return inode{path: path, from: from, mode: 0o755} }

// layer makes a layer of an image. It is not compressed: it is read on the machine that writes it.
func layer(inodes []inode) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range inodes {
		if err := i.write(w); err != nil {
			return nil, fmt.Errorf("put %s into an image: %w", i.path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return static.NewLayer(b.Bytes(), types.DockerUncompressedLayer), nil
}

func (i inode) write(w *tar.Writer) error {
	header := tar.Header{Name: i.path, Mode: i.mode, Format: tar.FormatPAX}
	contents := []byte(i.text)
	switch {
	case i.link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, i.link
	case i.path[len(i.path)-1] == '/':
		header.Typeflag = tar.TypeDir
	case i.from != "":
		var err error
		if contents, err = os.ReadFile(i.from); err != nil {
			return err
		}
		fallthrough
	default:
		header.Typeflag, header.Size = tar.TypeReg, int64(len(contents))
	}
	if len(i.capabilities) > 0 {
		header.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": fileCapabilities(i.capabilities)}
	}
	if err := w.WriteHeader(&header); err != nil {
		return err
	}
	_, err := w.Write(contents)
	return err
}

// fileCapabilities is the extended attribute that the kernel reads: struct vfs_cap_data of linux/capability.h,
// revision 2, permitted and effective.
func fileCapabilities(all []uint) string {
	const revision2, effective = 0x02000000, 1
	var permitted [2]uint32
	for _, c := range all {
		permitted[c/32] |= 1 << (c % 32)
	}
	words := []uint32{revision2 | effective, permitted[0], 0, permitted[1], 0}
	var b []byte
	for _, word := range words {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return string(b)
}

// withoutDoubles drops what comes again under the same path, and sorts, so that folders come first.
func withoutDoubles(inodes []inode) []inode {
	slices.SortStableFunc(inodes, func(a, b inode) int { return strings.Compare(a.path, b.path) })
	return slices.CompactFunc(inodes, func(a, b inode) bool { return a.path == b.path })
}
