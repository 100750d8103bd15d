package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"syscall"

	"golang.org/x/sys/unix"
)

// kernelError is the kernel's objection to a message.
type kernelError struct {
	errno  syscall.Errno
	text   string // what the kernel says beside the number, often nothing
	seq    uint32
	offset uint32 // of the attribute at fault in the message, 0 if not told
	object string // what the message was about
}

func (e *kernelError) Error() string {
	text := e.errno.Error()
	if e.text != "" {
		text += " (" + e.text + ")"
	}
	if e.object != "" {
		text = e.object + ": " + text
	}
	return text
}

// Unwrap gives the errno.
func (e *kernelError) Unwrap() error { return e.errno }

// parseError reads an NLMSG_ERROR; nil is an acknowledgement.
func parseError(a answer) *kernelError {
	const fixed = 4 + messageHeader // struct nlmsgerr, capped by NETLINK_CAP_ACK
	if len(a.payload) < fixed {
		return &kernelError{errno: unix.EBADMSG, seq: a.seq}
	}
	code := int32(binary.NativeEndian.Uint32(a.payload))
	if code == 0 {
		return nil
	}
	e := &kernelError{errno: syscall.Errno(-code), seq: a.seq}
	for kind, v := range attrs(a.payload[fixed:]) {
		switch {
		case kind == unix.NLMSGERR_ATTR_MSG:
			e.text = text(v)
		case kind == unix.NLMSGERR_ATTR_OFFS && len(v) == 4:
			e.offset = binary.NativeEndian.Uint32(v)
		}
	}
	return e
}

// transaction is a batch of messages that the kernel commits as a whole or not at all.
type transaction struct {
	buffer
	last    int // place of the last message
	objects []object
}

// object says what the messages from a place on are about, for an error.
type object struct {
	at   int
	text string
	set  *set // whose elements the message has, if it is about elements
}

func (t *transaction) begin() {
	t.buffer = t.buffer[:0]
	t.objects = t.objects[:0]
	t.edge(unix.NFNL_MSG_BATCH_BEGIN)
}

// edge adds the message that begins or ends a batch.
func (t *transaction) edge(kind uint16) {
	at := t.message(kind, unix.NLM_F_REQUEST, unix.AF_UNSPEC)
	binary.BigEndian.PutUint16(t.buffer[at+messageHeader+2:], unix.NFNL_SUBSYS_NFTABLES)
	t.endMessage(at)
}

// add adds a message; what names its object.
func (t *transaction) add(kind, flags uint16, family byte, what string, fill func(*buffer)) {
	t.objects = append(t.objects, object{at: len(t.buffer), text: what})
	t.last = t.message(nft(kind), unix.NLM_F_REQUEST|flags, family)
	fill(&t.buffer)
	t.endMessage(t.last)
}

func (t *transaction) empty() bool { return len(t.objects) == 0 }

// commitParts sends a transaction in as many as the socket requires.
func (c *conn) commitParts(t *transaction) error {
	for part := range t.parts(c.limit) {
		if err := c.commit(part, false); err != nil {
			return err
		}
	}
	return nil
}

// batchEdges is how many bytes the messages around a transaction have.
const batchEdges = 2 * (messageHeader + familyHeader)

// parts yields the same messages in transactions of at most so many bytes. Each is valid until the next.
func (t *transaction) parts(limit int) iter.Seq[*transaction] {
	return func(yield func(*transaction) bool) {
		if len(t.buffer)+batchEdges/2 <= limit {
			yield(t)
			return
		}
		part := &transaction{}
		part.begin()
		for i, o := range t.objects {
			end := len(t.buffer)
			if i+1 < len(t.objects) {
				end = t.objects[i+1].at
			}
			if !part.empty() && len(part.buffer)+end-o.at+batchEdges/2 > limit {
				if !yield(part) {
					return
				}
				part.begin()
			}
			part.last = len(part.buffer)
			part.buffer = append(part.buffer, t.buffer[o.at:end]...)
			o.at = part.last
			part.objects = append(part.objects, o)
		}
		yield(part)
	}
}

// commit sends a transaction and returns the kernel's first objection. With
// rehearse the kernel does everything but the commit.
func (c *conn) commit(t *transaction, rehearse bool) error {
	if t.empty() {
		return nil
	}
	// One acknowledgement is enough, as the kernel sends all errors anyway.
	flags := t.buffer[t.last+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	if !rehearse {
		t.edge(unix.NFNL_MSG_BATCH_END)
	}
	first := c.seq + 1
	for at := 0; at < len(t.buffer); at += int(binary.NativeEndian.Uint32(t.buffer[at:])) {
		c.seq++
		binary.NativeEndian.PutUint32(t.buffer[at+8:], c.seq)
	}
	err := c.control(func(fd int) error { return c.deliver(fd, t.buffer, first) })
	if e, ok := errors.AsType[*kernelError](err); ok {
		e.object = t.blame(e, first)
	}
	if err == nil && !rehearse {
		c.commits++
	}
	return err
}

// deliver sends a transaction and collects what the kernel has to say.
func (c *conn) deliver(fd int, batch []byte, first uint32) error {
	if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send %d bytes to netlink: %w", len(batch), err)
	}
	var objection *kernelError
	acknowledged := false
	collect := func(a answer) bool {
		if a.kind != unix.NLMSG_ERROR || int32(a.seq-first) < 0 {
			return false
		}
		switch e := parseError(a); {
		case e == nil:
			acknowledged = true
		case objection == nil:
			objection = e
		}
		return false
	}
	err := c.receive(fd, collect)
	if errors.Is(err, unix.ENOBUFS) {
		// There were more errors than the buffer holds. What is left of them tells enough.
		err = c.receive(fd, collect)
		if err == nil && objection == nil {
			err = fmt.Errorf("read from netlink: %w: the kernel's answer did not fit", unix.ENOBUFS)
		}
	}
	switch {
	case objection != nil:
		return objection
	case err != nil:
		return err
	case !acknowledged:
		return errors.New("the kernel neither confirmed nor refused the transaction")
	}
	return nil
}

// blame names the object of the message that the kernel objects to.
func (t *transaction) blame(e *kernelError, first uint32) string {
	index := int(e.seq-first) - 1 // the batch's first message is its beginning
	if index < 0 || index >= len(t.objects) {
		return "the transaction"
	}
	o := t.objects[index]
	if o.set == nil || e.offset == 0 {
		return o.text
	}
	message := t.buffer[o.at:]
	body := message[messageHeader+familyHeader : binary.NativeEndian.Uint32(message)]
	for _, element := range attrs(attrOf(body, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
		end := cap(message) - cap(element) + len(element) // both are cut from one array
		if int(e.offset) < end {
			k, v, _ := o.set.parseElement(element)
			return o.text + ": " + o.set.elementText(k, v)
		}
	}
	return o.text
}
