package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	restwatch "k8s.io/client-go/rest/watch"
)

// request is a parsed list or watch.
type request struct {
	of       resource
	selector selector
	codec    runtime.SerializerInfo
	version  uint64 // watch from here
	initial  bool   // watch list: first what there is, then a bookmark
	atLeast  bool   // the answer must not be older than version
	marks    bool   // bookmarks are welcome
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	asked := newRequest(r)
	s.requests = append(s.requests, asked)
	refuse, noStream, guard := cmp.Or(s.refuse, s.refused[path.Base(r.URL.Path)]), s.noStream, s.guard
	instead := s.instead
	s.mu.Unlock()
	if instead != nil {
		instead.ServeHTTP(w, r)
		return
	}
	if refuse == 0 && guard != nil {
		refuse = guard(asked)
	}
	if refuse != 0 {
		fail(w, refuse, reasons[refuse], "the test refuses")
		return
	}
	if r.Method == http.MethodPost && path.Base(r.URL.Path) == "events" { // it is noted with the requests
		w.WriteHeader(http.StatusCreated)
		return
	}
	q, err := parse(r)
	if err != nil {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, err.Error())
		return
	}
	switch {
	case q.atLeast && q.version > s.Version():
		fail(w, http.StatusGatewayTimeout, metav1.StatusReasonTimeout, fmt.Sprintf("Too large resource version: %d, current: %d", q.version, s.Version()), metav1.CauseTypeResourceVersionTooLarge)
	case q.initial && noStream:
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch")
	case !r.URL.Query().Has("watch"):
		s.list(w, q)
	default:
		s.watch(w, r, q)
	}
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, message string, causes ...metav1.CauseType) {
	var details struct {
		Causes []metav1.StatusCause `json:"causes,omitempty"`
	}
	for _, c := range causes {
		details.Causes = append(details.Causes, metav1.StatusCause{Type: c, Message: message})
	}
	text, _ := json.Marshal(details)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":%q,"code":%d,"details":%s}`, reason, message, code, text)
}

// parse reads a request for a collection, in all namespaces or in one.
func parse(r *http.Request) (request, error) {
	var q request
	path, v := r.URL.Path, r.URL.Query()
	if before, rest, ok := strings.Cut(path, "/namespaces/"); ok {
		namespace, collection, inside := strings.Cut(rest, "/")
		if inside {
			q.selector.namespace, path = namespace, before+"/"+collection
		}
	}
	q.of = resource(path)
	if _, ok := kinds[q.of]; !ok || r.Method != http.MethodGet {
		return q, fmt.Errorf("no %s %s here", r.Method, r.URL.Path)
	}
	var err error
	if q.selector.labels, err = labels.Parse(v.Get("labelSelector")); err != nil {
		return q, err
	}
	if q.selector.fields, err = fields.ParseSelector(v.Get("fieldSelector")); err != nil {
		return q, err
	}
	q.version, _ = strconv.ParseUint(v.Get("resourceVersion"), 10, 64)
	q.initial, q.marks = v.Get("sendInitialEvents") == "true", v.Get("allowWatchBookmarks") == "true"
	q.atLeast = q.initial || !v.Has("watch") // a watch from a version in the future waits for it
	accept := r.Header.Get("Accept")
	if q.of == imports {
		accept = runtime.ContentTypeJSON // resources that are defined by objects have no protobuf
	}
	q.codec = negotiate(accept)
	return q, nil
}

// negotiate takes the first media type that we speak; JSON if there is none.
func negotiate(accept string) runtime.SerializerInfo {
	for wanted := range strings.SplitSeq(accept, ",") {
		media, _, err := mime.ParseMediaType(strings.TrimSpace(wanted))
		if err != nil {
			continue
		}
		if info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), media); ok && info.StreamSerializer != nil {
			return info
		}
	}
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	return info
}

// snapshot returns what is there, in the order of names, and its version.
func (s *Server) snapshot(q request) ([]runtime.Object, uint64) {
	var found []runtime.Object
	for _, key := range slices.Sorted(maps.Keys(s.objects[q.of])) {
		if o := s.objects[q.of][key]; q.selector.matches(o) {
			found = append(found, o.DeepCopyObject())
		}
	}
	return found, s.version
}

func (s *Server) list(w http.ResponseWriter, q request) {
	s.mu.Lock()
	found, version := s.snapshot(q)
	s.mu.Unlock()
	list := newList(q.of)
	if err := meta.SetList(list, found); err != nil {
		fail(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
		return
	}
	m, _ := meta.ListAccessor(list)
	m.SetResourceVersion(strconv.FormatUint(version, 10))
	w.Header().Set("Content-Type", q.codec.MediaType)
	encoder := codecs.EncoderForVersion(q.codec.Serializer, kinds[q.of].GroupVersion())
	_ = encoder.Encode(list, w) // the client went away
}

// watch streams changes until the client or the test ends it.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, q request) {
	gv := kinds[q.of].GroupVersion()
	stream := q.codec.StreamSerializer
	encoder := restwatch.NewEncoder(
		streaming.NewEncoder(stream.NewFrameWriter(w), codecs.EncoderForVersion(stream.Serializer, gv)),
		codecs.EncoderForVersion(q.codec.Serializer, gv))
	w.Header().Set("Content-Type", q.codec.MediaType+";stream=watch")
	send := func(events []watch.Event) bool {
		for _, e := range events {
			e.Object = e.Object.DeepCopyObject() // encoders write their kind into objects
			if encoder.Encode(&e) != nil {
				return false
			}
		}
		return http.NewResponseController(w).Flush() == nil
	}
	s.mu.Lock()
	drop, broken, from := s.drop, s.fail, q.version
	var first []watch.Event
	if q.initial || from == 0 {
		first, from = s.initial(q)
	} else if from < s.expired {
		s.mu.Unlock()
		fail(w, http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
		return
	}
	s.watches++
	s.mu.Unlock()
	defer s.left()
	if !send(first) {
		return
	}
	for {
		s.mu.Lock()
		if from < s.expired {
			// What this client has not been sent yet is forgotten: a stream that went
			// on would hide it. The client comes again and is told that it is too late.
			s.mu.Unlock()
			return
		}
		events, changed := s.since(q, from), s.changed
		from = s.version
		s.mu.Unlock()
		if !send(events) {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-drop:
			return
		case <-broken:
			send([]watch.Event{{Type: watch.Error, Object: s.lastFailure()}})
			return
		case <-s.stop:
			return
		}
	}
}

// initial is what there is, as additions; a watch list ends it with a bookmark.
func (s *Server) initial(q request) ([]watch.Event, uint64) {
	found, version := s.snapshot(q)
	var events []watch.Event
	for _, o := range found {
		events = append(events, watch.Event{Type: watch.Added, Object: o})
	}
	if q.initial {
		end := newObject(q.of)
		setVersion(end, version)
		m, _ := meta.Accessor(end)
		m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		events = append(events, watch.Event{Type: watch.Bookmark, Object: end})
	}
	return events, version
}

// since is what changed after a version, as a client with that selector sees it:
// an object that stops to match is deleted for it.
func (s *Server) since(q request, version uint64) []watch.Event {
	var events []watch.Event
	first := sort.Search(len(s.history), func(i int) bool { return s.history[i].version > version })
	for _, e := range s.history[first:] {
		if e.of != q.of {
			continue
		}
		was, is := q.selector.matches(e.before), e.kind != watch.Deleted && q.selector.matches(e.object)
		switch {
		case e.kind == watch.Bookmark && !q.marks:
		case e.kind == watch.Bookmark:
			events = append(events, watch.Event{Type: watch.Bookmark, Object: e.object})
		case is && !was:
			events = append(events, watch.Event{Type: watch.Added, Object: e.object})
		case is:
			events = append(events, watch.Event{Type: watch.Modified, Object: e.object})
		case was:
			events = append(events, watch.Event{Type: watch.Deleted, Object: e.object})
		}
	}
	return events
}
