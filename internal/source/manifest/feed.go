package manifest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// Options configure a Feed besides its folder.
type Options struct {
	Source source.Options

	// Selection of objects, like the options of the same names in package kube. The zero
	// values select everything.
	Kinds             []cluster.Kind
	LabelSelector     string
	NamespaceSelector string
	Namespaces        []string

	// Report is called with each unusable part of an object, or (with a zero Ref) of a whole
	// file, from one goroutine at a time. It may be nil.
	Report func(source.Problem)
	// Logf writes a log line; the level is debug, info, warning or error. It may be nil.
	Logf func(level, format string, args ...any)
}

// Feed keeps a Store equal to a folder. Create one with New.
type Feed struct {
	dir        string
	store      *cluster.Store
	options    Options
	choose     selection
	newWatcher func() (*fsnotify.Watcher, error)

	folder *folder
	known  map[string]*known // by path

	mu     sync.Mutex
	status source.Status // without its Kind
	files  Files
}

// known is the state of a file.
type known struct {
	info   os.FileInfo       // at the last successful read, else nil
	sum    [sha256.Size]byte // of the content at that time
	broken string            // why it keeps its last valid content; empty: its content is current
	empty  bool              // it was empty at the last check and has to be checked again
}

// Files counts the content of the folder.
type Files struct {
	Read       int // files, including broken ones
	Broken     int // files that keep their last valid content
	Objects    int // in the Store
	PassedOver int // documents of ignored kinds
}

// New reads the folder into the store and marks the store as synced. An unreadable folder is
// an error; an unreadable file is reported.
func New(dir string, store *cluster.Store, o Options) (*Feed, error) {
	if o.Report == nil {
		o.Report = func(source.Problem) {}
	}
	if o.Logf == nil {
		o.Logf = func(string, string, ...any) {}
	}
	f := &Feed{
		dir: filepath.Clean(dir), store: store, options: o, newWatcher: fsnotify.NewWatcher,
		known: map[string]*known{},
	}
	var err error
	if f.choose, err = o.selection(); err != nil {
		return nil, err
	}
	f.folder = newFolder(f.choose.namespaceLabels != nil)
	info, err := os.Stat(f.dir)
	if err == nil && !info.IsDir() {
		err = errors.New("it is a file")
	}
	if err == nil {
		_, err = f.scan()
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifests in %s: %w: want a folder that this process can read", dir, err)
	}
	for _, name := range o.Namespaces {
		store.Put(0, &cluster.Namespace{Name: name})
	}
	store.MarkSynced()
	return f, nil
}

// Status returns the freshness of the folder for every kind, because kinds have no separate
// watches. LastEvent is when the folder was last found equal to the Store.
func (f *Feed) Status() []source.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []source.Status
	for _, k := range []cluster.Kind{
		cluster.KindService, cluster.KindSlice, cluster.KindNamespace, cluster.KindPod, cluster.KindNode, cluster.KindServiceCIDR,
		cluster.KindServiceImport, cluster.KindImportedSlice,
	} {
		st := f.status
		st.Kind = k
		out = append(out, st)
	}
	return out
}

// Files returns the current counts.
func (f *Feed) Files() Files {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.files
}

// scan reads new, changed and removed files and returns the existing folders. If the folder
// itself is unreadable, it keeps the last state, because the volume may only be unmounted.
func (f *Feed) scan() (folders []string, err error) {
	l, err := list(f.dir)
	if err != nil {
		f.failed(err)
		return nil, err
	}
	var paths []string
	for path, info := range l.files {
		if k := f.known[path]; k == nil || !same(k.info, info) {
			paths = append(paths, path)
		}
	}
	for path := range f.known {
		if l.files[path] == nil && !l.hides(path) {
			paths = append(paths, path)
		}
	}
	if err := f.reload(paths); err != nil {
		return nil, err
	}
	for path, err := range l.blind {
		f.failed(fmt.Errorf("read %s: %w: its content stays as it was", path, err))
	}
	if len(l.blind) == 0 {
		f.recovered()
	}
	return l.folders, nil
}

// reload reads these files and updates the Store. Its cost depends on these files; a file
// with unchanged content costs only the read. It returns an error of the folder: if the folder
// disappeared meanwhile, its files did as well, and nothing changes.
func (f *Feed) reload(paths []string) error {
	e, gone := edits{}, []string(nil)
	newest := uint64(0)
	for _, path := range paths {
		next, there := f.read(path)
		if !there {
			gone = append(gone, path)
		}
		if next == nil {
			continue
		}
		e[path] = next
		newest = max(newest, uint64(max(0, f.known[path].info.ModTime().Unix())))
		for _, p := range next.problems {
			f.options.Report(p)
		}
	}
	var away error
	if len(gone) > 0 {
		if _, away = os.Stat(f.dir); away != nil {
			f.failed(away)
			gone = nil
		}
	}
	for _, path := range gone {
		delete(f.known, path)
		e[path] = nil
	}
	f.show(e, newest)
	return away
}

// show applies edits to the Store; newest is the time of the newest edit.
func (f *Feed) show(e edits, newest uint64) {
	c := f.folder.apply(e)
	for _, p := range c.repeated {
		f.options.Report(p)
	}
	if len(c.put)+len(c.gone) > 0 {
		// Without resourceVersions, the times of the files replace them, so that the version
		// moves with every change and does not go back after a restart.
		version := max(c.version, newest, f.store.Version()+1)
		f.store.Put(version, c.put...)
		f.store.Delete(version, c.gone...)
	}
	f.count()
}

// read reads one file and reports whether it exists. next is nil if the content is unchanged
// or invalid.
func (f *Feed) read(path string) (next *file, there bool) {
	content, info, err := read(path)
	for try := 0; try < 3 && errors.Is(err, fs.ErrNotExist); try++ {
		// The path may have led to the previous version of a mounted ConfigMap.
		content, info, err = read(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	k := f.known[path]
	if k == nil {
		k = &known{}
		f.known[path] = k
	}
	if err != nil {
		*k = known{broken: k.broken}
		f.breaks(path, &broken{what: err.Error(), want: "a file that this process can read"})
		return nil, true
	}
	if len(content) == 0 && f.folder.files[path] != nil {
		// Probably a program is writing the file, which starts with an empty one. Check
		// again before it counts, and even then keep the last content.
		if k.empty {
			f.breaks(path, &broken{what: "the file is empty", want: "documents, or no file"})
		}
		k.info, k.empty = nil, true
		return nil, true
	}
	k.empty = false
	sum := sha256.Sum256(content)
	before := *k
	k.info, k.sum = info, sum
	if before.info != nil && before.sum == sum {
		return nil, true
	}
	next, err = parse(path, content, f.options.Source, &f.choose)
	if err != nil {
		var why *broken
		errors.As(err, &why)
		f.breaks(path, why)
		return nil, true
	}
	if k.broken != "" {
		k.broken = ""
		f.options.Logf("info", "manifests: %s is valid again", path)
	}
	return next, true
}

// breaks records that a file keeps its last valid content, and reports that once.
func (f *Feed) breaks(path string, why *broken) {
	k := f.known[path]
	p := source.Problem{Where: path, Field: why.what, Want: why.want + "; the file keeps its last valid content"}
	if why.line > 0 {
		p.Where = place(path, why.line)
	}
	if f.folder.files[path] == nil {
		p.Want = why.want + "; the file is ignored until then"
	}
	text := p.String()
	if k.broken == text {
		return
	}
	k.broken = text
	f.options.Report(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Failures++
	f.status.LastError = text
}

// count updates the counts.
func (f *Feed) count() {
	n := Files{Read: len(f.known), Objects: len(f.folder.shown)}
	for _, k := range f.known {
		if k.broken != "" {
			n.Broken++
		}
	}
	for _, file := range f.folder.files {
		n.PassedOver += file.passedOver
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files = n
	f.status.Synced = true
	f.status.LastEvent = time.Now()
}

// failed records that the folder is unreadable, and logs that once.
func (f *Feed) failed(err error) {
	f.mu.Lock()
	tell := !f.status.Failing || f.status.LastError != err.Error()
	f.status.Failing, f.status.LastError = true, err.Error()
	f.status.Failures++
	synced := f.status.Synced
	f.mu.Unlock()
	if tell && synced { // else New returns the error
		f.options.Logf("error", "manifests: %v; the objects stay as they were", err)
	}
}

// recovered records that the folder is readable.
func (f *Feed) recovered() {
	f.mu.Lock()
	tell := f.status.Failing
	f.status.Failing = false
	f.mu.Unlock()
	if tell {
		f.options.Logf("info", "manifests: %s is readable again", f.dir)
	}
}
