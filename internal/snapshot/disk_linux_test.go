package snapshot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// inside is set in the process that has a file system of its own.
const inside = "SNAPSHOT_TEST_INSIDE"

// own runs the test again in user and mount namespaces of its own, where it may
// mount. It reports whether this is that process.
func own(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && os.Getenv("CI") != "true" {
		t.Skipf("this system gives no user namespace: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// A disk that is full leaves the old snapshot and no rest; when there is room
// again, the snapshot is written.
func TestFullDisk(t *testing.T) {
	if !own(t) {
		return
	}
	dir := os.Getenv(inside)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	s := newStage(dir, filled(7, town()...), nil)
	s.after(0)
	ballast := dir + "/ballast"
	if err := os.WriteFile(ballast, make([]byte, 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		s.store.Put(uint64(8+i), &cluster.Namespace{Name: fmt.Sprint("namespace-", i)})
	}
	s.after(time.Minute)
	if st := s.Status(); !errors.Is(st.Err, syscall.ENOSPC) || st.Failures != 1 {
		t.Fatalf("status %+v, want no space left", st)
	}
	s.says(t, "no space left on device")
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("%v, %v: want the old snapshot and the ballast", files, err)
	}
	reader := newStage(dir, cluster.NewStore(), nil)
	if !reader.Restore() || reader.store.Version() != 7 {
		t.Errorf("version %d, want 7", reader.store.Version())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.after(maxDelay)
	reader = newStage(dir, cluster.NewStore(), nil)
	if !reader.Restore() || reader.store.Version() != 2007 {
		t.Errorf("version %d, want 2007: %s", reader.store.Version(), s.lines)
	}
}

// From a file system that is read-only a snapshot is taken, and nothing written.
func TestReadOnlyDisk(t *testing.T) {
	if !own(t) {
		return
	}
	dir := os.Getenv(inside)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	newStage(dir, filled(7, town()...), nil).after(0)
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s := newStage(dir, cluster.NewStore(), nil)
	if !s.Restore() {
		t.Fatal(s.lines)
	}
	s.store.MarkSynced()
	s.after(time.Minute)
	if st := s.Status(); !errors.Is(st.Err, syscall.EROFS) {
		t.Errorf("status %+v, want a read-only file system", st)
	}
	s.says(t, "want a folder on a local disk that this process can write")
}
