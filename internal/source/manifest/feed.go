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

// Options are what a Feed needs to know besides the folder.
type Options struct {
	Source source.Options

	// Which objects count, as the options of the same names in package kube. The
	// zero values take all.
	Kinds             []cluster.Kind
	LabelSelector     string
	NamespaceSelector string
	Namespaces        []string

	// Report is told what cannot be used: in an object, or (with a zero Ref) of a
	// whole file. It is called from one goroutine at a time. It may be nil.
	Report func(source.Problem)
	// Logf writes a line for people; the level is debug, info, warning or error.
	// It may be nil.
	Logf func(level, format string, args ...any)
}

// Feed keeps a Store equal to a folder. Make one with New.
type Feed struct {
	dir        string
	store      *cluster.Store
	options    Options
	choose     selection
	newWatcher func() (*fsnotify.Watcher, error)

	folder *folder
	known  map[string]*known // by path

	mu     sync.Mutex
	status source.Status // but for its Kind
	files  Files
}

// known is what the feed remembers of a file.
type known struct {
	info   os.FileInfo       // when it was last read; nil if that went wrong
	sum    [sha256.Size]byte // of the content then
	broken string            // why it keeps its last good content; empty: it does not
	empty  bool              // it was empty at the last look, and is to be looked at again
}

// Files counts what is in the folder.
type Files struct {
	Read       int // files, the broken ones too
	Broken     int // files that keep what they last said
	Objects    int // in the Store
	PassedOver int // documents of kinds that are not for us
}

// New reads the folder into the store and marks it as synced. A folder that
// cannot be read is an error; a file that cannot is reported.
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
		_, err = f.lookAround()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the manifests in %s: %w: want a folder that this process can read", dir, err)
	}
	for _, name := range o.Namespaces {
		store.Put(0, &cluster.Namespace{Name: name})
	}
	store.MarkSynced()
	return f, nil
}

// Status tells how fresh the folder is, once for every kind: it has no watch per
// kind. LastEvent is when the folder was last found equal to the Store.
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

// Files counts what is in the folder now.
func (f *Feed) Files() Files {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.files
}

// lookAround looks for files that came, changed or went, takes them over, and
// returns the folders there are. If the folder itself cannot be read, nothing
// changes: a volume that is away is no order to forget every name.
func (f *Feed) lookAround() (folders []string, err error) {
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
	if err := f.take(paths); err != nil {
		return nil, err
	}
	for path, err := range l.blind {
		f.failed(fmt.Errorf("reading %s: %w: what is in it stays as it was", path, err))
	}
	if len(l.blind) == 0 {
		f.recovered()
	}
	return l.folders, nil
}

// take reads these files and brings the Store up to date. The cost is that of the
// files; those whose content is as before cost a read only. The error is that of the
// folder: if it went away meanwhile, the files went with it, and that changes nothing.
func (f *Feed) take(paths []string) error {
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

// show takes edits over into the Store; newest is the time of the newest of them.
func (f *Feed) show(e edits, newest uint64) {
	c := f.folder.apply(e)
	for _, p := range c.repeated {
		f.options.Report(p)
	}
	if len(c.put)+len(c.gone) > 0 {
		// Without resourceVersions the times of the files stand in, so that the
		// version moves with every change and does not go back with a restart.
		version := max(c.version, newest, f.store.Version()+1)
		f.store.Put(version, c.put...)
		f.store.Delete(version, c.gone...)
	}
	f.count()
}

// read reads one file and reports whether it is there; next is nil if it says what it
// said before, or cannot be understood.
func (f *Feed) read(path string) (next *file, there bool) {
	content, info, err := read(path)
	for try := 0; try < 3 && errors.Is(err, fs.ErrNotExist); try++ {
		// The way to it may just have led to the old version of a mounted ConfigMap.
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
		// Most likely somebody writes it anew just now: that begins with an empty
		// file. Look again before it counts, and even then it is no order to forget.
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
		f.options.Logf("info", "manifests: %s is understood again", path)
	}
	return next, true
}

// breaks notes that a file keeps its last good content, and tells so once.
func (f *Feed) breaks(path string, why *broken) {
	k := f.known[path]
	p := source.Problem{Where: path, Field: why.what, Want: why.want + "; the file counts as it last was"}
	if why.line > 0 {
		p.Where = place(path, why.line)
	}
	if f.folder.files[path] == nil {
		p.Want = why.want + "; the file is left out until then"
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

// count brings the numbers up to date.
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

// failed notes that the folder cannot be read, and tells so once.
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

// recovered notes that the folder can be read.
func (f *Feed) recovered() {
	f.mu.Lock()
	tell := f.status.Failing
	f.status.Failing = false
	f.mu.Unlock()
	if tell {
		f.options.Logf("info", "manifests: %s can be read again", f.dir)
	}
}
