package care

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// Limits of a file: a line that is longer is no line of a list of people.
const (
	maxRecord  = 1 << 20
	maxColumns = 200
	sniff      = 64 << 10
)

// Encodings of a file.
const (
	EncodingAuto    = ""
	EncodingUTF8    = "utf-8"
	EncodingGB18030 = "gb18030"
)

// table reads a CSV file with a header, row by row, in bounded memory.
type table struct {
	Encoding string
	Header   []string
	csv      *csv.Reader
	limit    *limited
	names    []string // of the columns, as the file writes them
}

// row is one record of the file.
type row struct {
	line  int
	cells []string
}

// cellSep joins the cells of a row; no cell has it.
const cellSep = "\x1f"

// packedRow is a row as one text, for those of which many wait.
type packedRow struct {
	line int
	text string
}

func (r row) pack() packedRow   { return packedRow{r.line, strings.Join(r.cells, cellSep)} }
func (p packedRow) unpack() row { return row{p.line, strings.Split(p.text, cellSep)} }

// errTooLong ends the reading: nobody knows where the next row begins.
var errTooLong = fmt.Errorf("is longer than %d bytes: a quote that is never closed?", maxRecord)

// limited fails when one record takes more than its bytes.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

func openTable(r io.Reader, encoding string) (*table, error) {
	b := bufio.NewReaderSize(r, sniff)
	head, err := b.Peek(sniff)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read file: %w", err)
	}
	switch {
	case len(bytes.TrimSpace(head)) == 0:
		return nil, Invalid("file", "is empty")
	case bytes.HasPrefix(head, []byte{0xFF, 0xFE}), bytes.HasPrefix(head, []byte{0xFE, 0xFF}):
		return nil, Invalid("file", "is UTF-16; save it as CSV UTF-8")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte{0xD0, 0xCF, 0x11, 0xE0}):
		return nil, Invalid("file", "is a workbook; save it as CSV UTF-8")
	case bytes.IndexByte(head, 0) >= 0:
		return nil, Invalid("file", "is not a text file")
	case bytes.HasPrefix(head, []byte("\xEF\xBB\xBF")):
		b.Discard(3) //nolint:errcheck // just peeked
		head, encoding = head[3:], EncodingUTF8
	}
	switch encoding {
	case EncodingUTF8, EncodingGB18030:
	case EncodingAuto:
		encoding = EncodingUTF8
		if !validUTF8(head) {
			encoding = EncodingGB18030
		}
	default:
		return nil, Invalid("encoding", "%q is not one of utf-8, gb18030", encoding)
	}
	var text io.Reader = b
	if encoding == EncodingGB18030 {
		text = simplifiedchinese.GB18030.NewDecoder().Reader(b)
	}
	t := &table{Encoding: encoding, limit: &limited{r: text}}
	t.csv = csv.NewReader(t.limit)
	t.csv.FieldsPerRecord = -1
	t.csv.Comma = delimiter(head)
	first, err := t.read()
	if err != nil {
		return nil, Invalid("file", "header: %s", err.Error())
	}
	if len(first.cells) > maxColumns {
		return nil, Invalid("file", "has %d columns, at most %d", len(first.cells), maxColumns)
	}
	t.names = first.cells
	for _, c := range first.cells {
		t.Header = append(t.Header, headerName(c))
	}
	return t, nil
}

// validUTF8 allows for a character that is cut at the end of what was read.
func validUTF8(b []byte) bool {
	for range utf8.UTFMax {
		if utf8.Valid(b) {
			return true
		}
		if len(b) == 0 || b[len(b)-1] < utf8.RuneSelf {
			return false
		}
		b = b[:len(b)-1]
	}
	return utf8.Valid(b)
}

// delimiter is what the header separates its columns with.
func delimiter(head []byte) rune {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	for _, d := range []byte(",\t;") {
		if bytes.IndexByte(line, d) >= 0 {
			return rune(d)
		}
	}
	return ','
}

// headerName is a column's name without case, spaces, units in brackets and stars.
func headerName(s string) string {
	s = strings.ToLower(fold(s))
	if i := strings.IndexByte(s, '('); i > 0 {
		s = s[:i]
	}
	return strings.Map(func(r rune) rune {
		if r == '*' || r == '_' || r == '-' {
			return -1
		}
		return dropSpace(r)
	}, s)
}

// badRow is a row that cannot be read; the next one can.
type badRow struct {
	row    row
	reason string
}

func (b *badRow) Error() string { return b.reason }

// next gives the next row, io.EOF at the end, a *badRow for one that is broken.
func (t *table) next() (row, error) {
	for {
		r, err := t.read()
		if err != nil {
			return r, err
		}
		if !slices.ContainsFunc(r.cells, func(c string) bool { return strings.TrimSpace(c) != "" }) {
			continue // a line of commas, as spreadsheets leave at the end
		}
		if len(r.cells) != len(t.names) {
			return r, &badRow{r, fmt.Sprintf("has %d columns, the header has %d", len(r.cells), len(t.names))}
		}
		for _, c := range r.cells {
			if !utf8.ValidString(c) || strings.ContainsRune(c, utf8.RuneError) {
				return r, &badRow{r, "a character cannot be read: is the encoding right?"}
			}
			if strings.Contains(c, cellSep) {
				return r, &badRow{r, "the control character U+001F cannot be in a list"}
			}
		}
		return r, nil
	}
}

func (t *table) read() (row, error) {
	t.limit.left = maxRecord
	cells, err := t.csv.Read()
	if err == nil {
		line, _ := t.csv.FieldPos(0)
		return row{line, cells}, nil
	}
	var pe *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		return row{}, io.EOF
	case errors.As(err, &pe) && !errors.Is(err, errTooLong):
		return row{pe.StartLine, cells}, &badRow{row{pe.StartLine, cells}, "quotes are not closed as CSV wants it"}
	}
	return row{}, err
}

// Problem is one row, or one cell, that could not be taken.
type Problem struct {
	Line   int    `json:"line"`
	Column string `json:"column,omitempty"`
	Reason string `json:"reason"`
}

func (p Problem) String() string {
	if p.Column == "" {
		return fmt.Sprintf("line %d: %s", p.Line, p.Reason)
	}
	return fmt.Sprintf("line %d, %s: %s", p.Line, p.Column, p.Reason)
}

// maxProblems are listed in a report; the file of rejects has all of them.
const maxProblems = 1000

// rejects writes the refused rows as they came, with the reason. It is safe for
// concurrent use.
type rejects struct {
	mu       sync.Mutex
	csv      *csv.Writer // nil when nobody wants them
	header   []string
	started  bool
	count    int
	problems []Problem
}

func newRejects(w io.Writer, header []string) *rejects {
	if n := len(header) - 3; n > 0 && header[n] == "line" && header[n+1] == "column" && header[n+2] == "reason" {
		header = header[:n] // a corrected file of rejects
	}
	r := &rejects{header: header}
	if w != nil {
		r.csv = csv.NewWriter(w)
	}
	return r
}

func (r *rejects) add(line row, column, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{Line: line.line, Column: column, Reason: reason})
	}
	if r.csv == nil {
		return
	}
	if !r.started {
		r.started = true
		// The mark makes spreadsheets read it as UTF-8.
		head := slices.Clone(r.header)
		head[0] = "\uFEFF" + head[0]
		r.csv.Write(append(head, "line", "column", "reason")) //nolint:errcheck // Flush tells
	}
	cells := make([]string, len(r.header), len(r.header)+3)
	copy(cells, line.cells)
	r.csv.Write(append(cells, fmt.Sprint(line.line), column, reason)) //nolint:errcheck // Flush tells
}

func (r *rejects) flush() error {
	if r.csv == nil {
		return nil
	}
	r.csv.Flush()
	if err := r.csv.Error(); err != nil {
		return fmt.Errorf("write rejected rows: %w", err)
	}
	return nil
}
