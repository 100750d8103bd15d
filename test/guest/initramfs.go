package guest

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// An archive is an initramfs in the making (Documentation/driver-api/early-userspace/
// buffer-format.rst): a compressed cpio archive in the form that the kernel unpacks.
type archive struct {
	packed *gzip.Writer
	cpio   *cpio.Writer
	names  map[string]bool // what is in it already
}

func newArchive(w io.Writer) *archive {
	packed, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // a constant level is no error
	return &archive{packed, cpio.NewWriter(packed), map[string]bool{}}
}

// close ends the archive.
func (a *archive) close() error {
	if err := a.cpio.Close(); err != nil {
		return err
	}
	return a.packed.Close()
}

// add writes one entry, below the folders that lead to it.
func (a *archive) add(name string, mode cpio.FileMode, data []byte) error {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" || a.names[name] {
		return nil
	}
	if err := a.add(path.Dir("/"+name), cpio.TypeDir|0o755, nil); err != nil {
		return err
	}
	a.names[name] = true
	if err := a.cpio.WriteHeader(&cpio.Header{Name: name, Mode: mode, Size: int64(len(data)), Links: 1}); err != nil {
		return fmt.Errorf("add %s to the initramfs: %w", name, err)
	}
	_, err := a.cpio.Write(data)
	return err
}

// addFile copies a file of this machine; what it links to is copied under its name.
func (a *archive) addFile(name, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("add a file to the initramfs: %w", err)
	}
	return a.add(name, cpio.TypeReg|0o755, data)
}

// addText writes a file of one item a line.
func (a *archive) addText(name string, items []string) error {
	return a.add(name, cpio.TypeReg|0o644, []byte(strings.Join(items, "\n")+"\n"))
}

// library finds the paths that ldd lists.
var library = regexp.MustCompile(`(?:=> )?(/[^ ]+) \(0x`)

// addProgram copies a program of this machine with the shared libraries that it needs.
func (a *archive) addProgram(name string) error {
	file, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("add a program to the initramfs: %w", err)
	}
	if err := a.addFile("/usr/bin/"+filepath.Base(name), file); err != nil {
		return err
	}
	return a.addLibraries(file)
}

// addLibraries copies what the dynamic linker loads for a program or a library.
func (a *archive) addLibraries(file string) error {
	out, err := exec.Command("ldd", file).CombinedOutput()
	if err != nil && strings.Contains(string(out), "not a dynamic executable") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ldd %s: %w\n%s", file, err, out)
	}
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		if err := a.addFile(m[1], m[1]); err != nil {
			return err
		}
	}
	return nil
}

// addTree copies the files below a folder, with the libraries that libraries among them need.
func (a *archive) addTree(at, from string) error {
	return filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if err := a.addFile(path.Join(at, filepath.ToSlash(rel)), p); err != nil || filepath.Ext(p) != ".so" {
			return err
		}
		return a.addLibraries(p)
	})
}
