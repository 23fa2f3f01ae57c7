package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Kinds of import.
const (
	ImportElders     = "elders"
	ImportDevices    = "devices"
	ImportProviders  = "providers"
	ImportResponders = "responders"
)

// ImportOptions say where a list comes from and where its bad rows go.
type ImportOptions struct {
	Encoding string    // EncodingAuto, EncodingUTF8, EncodingGB18030
	Source   string    // name of the list when several have keys of their own; may be empty
	Rejects  io.Writer // gets the refused rows as CSV, with line, column and reason; may be nil
	Actor    string
	Progress func(rows int) // called now and then with the rows done; may be nil
	Run      int            // elders that are sorted and loaded together, 32,768 by default: more make it faster, and take 5 KiB each
}

// Report is what an import did.
type Report struct {
	Kind      string    `json:"kind"`
	Encoding  string    `json:"encoding"`
	Rows      int       `json:"rows"`
	Added     int       `json:"added"`
	Changed   int       `json:"changed"`
	Unchanged int       `json:"unchanged"`
	Rejected  int       `json:"rejected"`
	Problems  []Problem `json:"problems,omitempty"`        // the first thousand
	Questions []Problem `json:"questions,omitempty"`       // taken, but to be asked: is somebody really 131?
	Ignored   []string  `json:"ignored_columns,omitempty"` // that mean nothing to this import
	Seconds   float64   `json:"seconds"`
}

// Import loads a CSV file. Every row is checked; the good ones are loaded in one
// pass, the bad ones reported. Loading the same file again changes nothing. An
// error means that the reading ended early; what the report counts is loaded.
func (r *Registry) Import(ctx context.Context, kind string, in io.Reader, o ImportOptions) (Report, error) {
	r.loading.Lock()
	defer r.loading.Unlock()
	started := time.Now()
	if o.Actor == "" {
		o.Actor = "import"
	}
	if strings.ContainsAny(o.Source, ":\x00") {
		return Report{Kind: kind}, Invalid("source", "the name of a list has no colon")
	}
	var load func(context.Context, *importing) error
	switch kind {
	case ImportElders:
		load = r.importElders
	case ImportDevices:
		load = func(ctx context.Context, m *importing) error { return importRecords(ctx, m, r.deviceImport()) }
	case ImportProviders:
		load = func(ctx context.Context, m *importing) error { return importRecords(ctx, m, r.providerImport()) }
	case ImportResponders:
		load = func(ctx context.Context, m *importing) error { return importRecords(ctx, m, r.responderImport()) }
	default:
		return Report{Kind: kind}, Invalid("kind", "%q is not one of elders, devices, providers, responders", kind)
	}
	t, err := openTable(in, o.Encoding)
	if err != nil {
		return Report{Kind: kind}, err
	}
	m := &importing{r: r, o: o, table: t, rejects: newRejects(o.Rejects, t.names), report: Report{Kind: kind, Encoding: t.Encoding}}
	err = load(ctx, m)
	err = errors.Join(err, m.rejects.flush())
	m.report.Rejected, m.report.Problems = m.rejects.count, m.rejects.problems
	slices.SortStableFunc(m.report.Problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	m.report.Seconds = time.Since(started).Seconds()
	for result, n := range map[string]int{"added": m.report.Added, "changed": m.report.Changed, "unchanged": m.report.Unchanged, "rejected": m.report.Rejected} {
		r.metrics.rows.WithLabelValues(kind, result).Add(float64(n))
	}
	if m.report.Added+m.report.Changed > 0 {
		r.changed("", "")
	}
	return m.report, err
}

// importing is one import under way.
type importing struct {
	r       *Registry
	o       ImportOptions
	table   *table
	rejects *rejects
	report  Report
}

// reject names the column as the file writes it.
func (m *importing) reject(line row, columnIndex int, err error) {
	name := ""
	if columnIndex >= 0 {
		name = strings.TrimSpace(m.table.names[columnIndex])
	}
	var ce *Error
	reason := err.Error()
	if errors.As(err, &ce) {
		reason = ce.Message
		if name == "" {
			name = ce.Field
		}
	}
	m.rejects.add(line, name, reason)
}

// each reads the rows and gives the good ones to f. A file whose next row cannot be
// found ends with an error that names the line.
func (m *importing) each(f func(row) error) error {
	for {
		line, err := m.table.next()
		var bad *badRow
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			m.report.Rows++
			m.rejects.add(bad.row, "", bad.reason)
			continue
		case errors.Is(err, errTooLong):
			return Invalid("file", "the row after line %d %s", m.report.Rows+1, err.Error())
		case err != nil:
			return fmt.Errorf("read file: %w", err)
		}
		m.report.Rows++
		if err := f(line); err != nil {
			return err
		}
	}
}

// apply sets a record's fields from a row; it tells the column that is wrong.
func apply[T any](columns []*column[T], to *T, line row) (int, error) {
	for i, c := range columns {
		if c == nil {
			continue
		}
		if cell := strings.TrimSpace(line.cells[i]); cell != "" {
			if err := c.apply(to, cell); err != nil {
				return i, err
			}
		}
	}
	return -1, nil
}

// columnOf finds the column that a field's error is about.
func columnOf[T any](columns []*column[T], err error) int {
	var ce *Error
	if !errors.As(err, &ce) {
		return -1
	}
	field := ce.Field
	switch base, rest, _ := strings.Cut(field, "["); base {
	case "phones":
		field = "phone"
	case "contacts": // contacts[0].phones
		number, part, _ := strings.Cut(rest, "].")
		if len(number) == 1 && number[0] >= '0' && number[0] < '9' {
			field = "contact" + string(number[0]+1) + "_" + strings.TrimSuffix(part, "s")
		}
	case "home":
		field = "lat"
	}
	for _, name := range []string{field, strings.Replace(field, "phone", "mobile", 1)} {
		if i := slices.IndexFunc(columns, func(c *column[T]) bool { return c != nil && c.name == name }); i >= 0 {
			return i
		}
	}
	return -1
}
