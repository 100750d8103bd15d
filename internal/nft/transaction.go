package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"syscall"

	"golang.org/x/sys/unix"
)

// Error is the kernel's objection to a message.
type Error struct {
	errno  syscall.Errno
	text   string // the kernel's explanation, often empty
	seq    uint32
	offset uint32 // of the attribute at fault in the message, 0 if unknown
	object string // what the message is about
}

func (e *Error) Error() string {
	text := e.errno.Error()
	if e.text != "" {
		text += " (" + e.text + ")"
	}
	if e.object != "" {
		text = e.object + ": " + text
	}
	return text
}

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.errno }

// parseError reads an NLMSG_ERROR; nil is an acknowledgement.
func parseError(a answer) *Error {
	const fixed = 4 + messageHeader // struct nlmsgerr, capped by NETLINK_CAP_ACK
	if len(a.payload) < fixed {
		return &Error{errno: unix.EBADMSG, seq: a.seq}
	}
	code := int32(binary.NativeEndian.Uint32(a.payload))
	if code == 0 {
		return nil
	}
	e := &Error{errno: syscall.Errno(-code), seq: a.seq}
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

// Transaction is a batch of messages that the kernel commits as a whole or not at all.
type Transaction struct {
	buffer
	last    int // place of the last message
	objects []object
}

// object says what a message is about, for an error.
type object struct {
	at   int
	text string
	set  *Set // whose elements the message has, if it is about elements
}

// NewTransaction returns an empty transaction.
func NewTransaction() *Transaction {
	t := &Transaction{}
	t.begin()
	return t
}

// Begin returns an empty transaction in the room of the last one that it returned.
func (c *Conn) Begin() *Transaction {
	c.tx.begin()
	return &c.tx
}

func (t *Transaction) begin() {
	t.buffer = t.buffer[:0]
	t.objects = t.objects[:0]
	t.edge(unix.NFNL_MSG_BATCH_BEGIN)
}

// edge adds the message that begins or ends a batch.
func (t *Transaction) edge(kind uint16) {
	at := t.message(kind, unix.NLM_F_REQUEST, unix.AF_UNSPEC)
	binary.BigEndian.PutUint16(t.buffer[at+messageHeader+2:], unix.NFNL_SUBSYS_NFTABLES)
	t.endMessage(at)
}

// add adds a message about something in a table; what names it. The name of the table has one number in all kinds.
func (t *Transaction) add(kind, flags uint16, table Table, what string, fill func(*buffer)) {
	t.objects = append(t.objects, object{at: len(t.buffer), text: what})
	t.last = t.message(kindOf(kind), unix.NLM_F_REQUEST|flags, table.Family.Number)
	t.string(unix.NFTA_TABLE_NAME, table.Name)
	fill(&t.buffer)
	t.endMessage(t.last)
}

// Empty reports whether nothing was added.
func (t *Transaction) Empty() bool { return len(t.objects) == 0 }

// Size returns how many bytes the transaction has when it is sent.
func (t *Transaction) Size() int { return len(t.buffer) + edgeSize }

// Bytes returns the messages, without the one that ends the transaction. They are valid until it changes.
func (t *Transaction) Bytes() []byte { return t.buffer }

// edgeSize is the size of the message that begins a transaction, and of the one that ends it.
const edgeSize = messageHeader + familyHeader

// CommitParts sends a transaction in as many as the socket requires.
func (c *Conn) CommitParts(t *Transaction) error {
	for part := range t.Parts(c.Limit) {
		if err := c.Commit(part); err != nil {
			return err
		}
	}
	return nil
}

// Parts yields the same messages in transactions of at most so many bytes. Each is valid until the next.
func (t *Transaction) Parts(limit int) iter.Seq[*Transaction] {
	return func(yield func(*Transaction) bool) {
		if t.Size() <= limit {
			yield(t)
			return
		}
		part := NewTransaction()
		for i, o := range t.objects {
			end := len(t.buffer)
			if i+1 < len(t.objects) {
				end = t.objects[i+1].at
			}
			if !part.Empty() && part.Size()+end-o.at > limit {
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

// Commit sends a transaction and returns the kernel's first objection, an *Error.
func (c *Conn) Commit(t *Transaction) error {
	if t.Empty() {
		return nil
	}
	// BATCH_END is what makes the kernel commit. One acknowledgement is enough: it sends all errors anyway.
	last := t.last
	t.edge(unix.NFNL_MSG_BATCH_END)
	err := c.send(t, last)
	if err == nil {
		c.commits++
	}
	return err
}

// Rehearse has the kernel do everything but the commit.
func (c *Conn) Rehearse(t *Transaction) error { return c.send(t, t.last) }

// send sends a transaction whose message at a place is to be acknowledged.
func (c *Conn) send(t *Transaction, acknowledge int) error {
	flags := t.buffer[acknowledge+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	first := c.seq + 1
	for at := 0; at < len(t.buffer); at += int(binary.NativeEndian.Uint32(t.buffer[at:])) {
		c.seq++
		binary.NativeEndian.PutUint32(t.buffer[at+8:], c.seq)
	}
	err := c.deliver(t.buffer, first)
	if e, ok := errors.AsType[*Error](err); ok {
		e.object = t.blame(e, first)
	}
	return err
}

// deliver sends a transaction and collects the kernel's answers.
func (c *Conn) deliver(batch []byte, first uint32) error {
	if err := c.sendTo(batch); err != nil {
		return err
	}
	var objection *Error
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
	err := c.receive(collect)
	if errors.Is(err, unix.ENOBUFS) {
		// There were more errors than the buffer holds. Those in the buffer are enough.
		err = c.receive(collect)
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
func (t *Transaction) blame(e *Error, first uint32) string {
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
			return o.text + ": " + o.set.Text(parseElement(element))
		}
	}
	return o.text
}
