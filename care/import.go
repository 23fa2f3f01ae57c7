package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"anling/event"
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

// runRows is how many elders are sorted and loaded together: more make the commits
// smaller, and take more memory (about 3 KiB each, in three runs at most).
const runRows = 32 << 10

// draft is a row on its way into the registry.
type draft struct {
	line  row
	row   ElderRow
	found ElderID // when it is there already
}

// elderImport is one import of elders: four steps, each on its own, hand runs of
// rows on: read and check, look up, load the keys, load the records.
type elderImport struct {
	*importing
	columns []*column[elderDraft]
	scratch elderDraft          // of the reading step
	spelled map[string]struct{} // names whose tokens the store has got
	seed    maphash.Seed
	idents  map[uint64]int32      // unique keys of the rows so far, and their lines
	persons map[uint64]seenPerson // likewise
	was     int64                 // elders before the import
	note    event.Event
}

type seenPerson struct {
	line   int32
	strong bool // had an ID number or a key
}

func (r *Registry) importElders(ctx context.Context, m *importing) error {
	columns, unknown, err := setters(elderColumns, m.table)
	if err != nil {
		return err
	}
	if err := require(columns, elderColumns, "name"); err != nil {
		return err
	}
	m.report.Ignored = unknown
	im := &elderImport{importing: m, columns: columns, spelled: map[string]struct{}{}, seed: maphash.MakeSeed(), idents: map[uint64]int32{}, persons: map[uint64]seenPerson{}}
	if im.was, err = r.store.CountElders(ctx); err != nil {
		return err
	}
	im.note = r.fact(EldersImported, "import", NewID[string](), 0, m.o.Actor, "", nil)
	g, ctx := errgroup.WithContext(ctx)
	checked, looked, keyed := make(chan []*draft), make(chan []*draft), make(chan []*draft)
	var readErr error
	g.Go(func() error {
		defer close(checked)
		readErr = im.read(ctx, checked)
		return ctx.Err() // what was read before a broken row is loaded
	})
	g.Go(func() error {
		defer close(looked)
		for run := range checked {
			if err := im.lookUp(ctx, run); err != nil {
				return err
			}
			if err := send(ctx, looked, run); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		defer close(keyed)
		for run := range looked {
			if err := im.r.store.LoadKeys(ctx, fresh(run)); err != nil {
				return err
			}
			if err := send(ctx, keyed, run); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		done := 0
		for run := range keyed {
			if err := im.load(ctx, run); err != nil {
				return err
			}
			if done += len(run); m.o.Progress != nil {
				m.o.Progress(done)
			}
		}
		return nil
	})
	return cmp.Or(g.Wait(), readErr)
}

func send(ctx context.Context, to chan<- []*draft, run []*draft) error {
	select {
	case to <- run:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read checks the rows by themselves and against the ones before.
func (im *elderImport) read(ctx context.Context, to chan<- []*draft) error {
	run := make([]*draft, 0, runRows)
	err := im.each(func(line row) error {
		if d := im.check(line); d != nil {
			if run = append(run, d); len(run) == runRows {
				err := send(ctx, to, run)
				run = make([]*draft, 0, runRows)
				return err
			}
		}
		return nil
	})
	if len(run) > 0 {
		err = errors.Join(err, send(ctx, to, run))
	}
	return err
}

// fill applies a row to a record and checks the whole.
func (im *elderImport) fill(d *elderDraft, line row) (int, error) {
	key := d.ExternalKey
	if i, err := apply(im.columns, d, line); err != nil {
		return i, err
	}
	if d.ExternalKey != key {
		d.Source = im.o.Source
	}
	err := d.finish()
	if err == nil {
		err = im.r.checkElder(&d.Elder)
	}
	if err != nil {
		return columnOf(im.columns, err), err
	}
	return -1, nil
}

func (im *elderImport) check(line row) *draft {
	im.scratch = elderDraft{}
	i, err := im.fill(&im.scratch, line)
	if err != nil {
		im.reject(line, i, err)
		return nil
	}
	e := &im.scratch.Elder
	strong := e.IDNumber != "" || e.ExternalKey != ""
	if !strong && (e.BirthDate == "" || e.AreaCode == "") {
		im.reject(line, -1, Invalid("", "needs an ID number, a key, or a birth date and an area beside the name: otherwise nobody can tell whether the person is here already"))
		return nil
	}
	d := &draft{line: line, row: ElderRow{Elder: *e}}
	if d.row.Idents, err = im.r.idents(e); err != nil {
		im.reject(line, columnOf(im.columns, Invalid("id_number", "")), err)
		return nil
	}
	if err := im.once(d, strong); err != nil {
		im.reject(line, columnOf(im.columns, err), err)
		return nil
	}
	d.row.Digest = im.r.digest(line.cells)
	im.ask(d)
	return d
}

// ask notes what is possible but odd about an ID number.
func (im *elderImport) ask(d *draft) {
	if d.row.Elder.IDType != "resident_id" || len(im.report.Questions) >= maxProblems {
		return
	}
	i := slices.IndexFunc(im.columns, func(c *column[elderDraft]) bool { return c != nil && c.name == "id_number" })
	if i < 0 {
		return
	}
	if id, err := ParseIDNumber(d.line.cells[i], im.r.o.Now(), im.r.o.Demo); err == nil {
		for _, q := range id.Questions {
			im.report.Questions = append(im.report.Questions, Problem{Line: d.line.line, Column: strings.TrimSpace(im.table.names[i]), Reason: q})
		}
	}
}

// once refuses a person who was in the file already.
func (im *elderImport) once(d *draft, strong bool) error {
	for _, ident := range d.row.Idents {
		if first, twice := im.idents[maphash.String(im.seed, ident)]; twice {
			return Invalid(identField(ident), "the same %s as in line %d", identName(ident), first)
		}
	}
	person := maphash.String(im.seed, personIdent(&d.row.Elder))
	if first, twice := im.persons[person]; twice && (!strong || !first.strong) && d.row.Elder.BirthDate != "" {
		return Invalid("name", "the same name, birth date and area as in line %d, and one of the two has no number: are they one person?", first.line)
	}
	im.persons[person] = seenPerson{int32(d.line.line), strong}
	for _, ident := range d.row.Idents {
		im.idents[maphash.String(im.seed, ident)] = int32(d.line.line)
	}
	return nil
}

func identField(ident string) string {
	switch kind, _, _ := strings.Cut(ident, ":"); kind {
	case "id":
		return "id_number"
	case "card":
		return "card_no"
	case "key":
		return "external_key"
	}
	return "name"
}

// lookUp finds which rows are here already and makes the others ready.
func (im *elderImport) lookUp(ctx context.Context, run []*draft) error {
	var idents []string
	for _, d := range run {
		idents = append(idents, d.row.Idents...)
	}
	slices.Sort(idents)
	owners, err := im.r.store.FindIdents(ctx, idents)
	if err != nil {
		return err
	}
	persons, err := im.findPersons(ctx, run, owners)
	if err != nil {
		return err
	}
	now := im.r.o.Now().UTC()
	for i, d := range run {
		owner, err := im.owner(d, owners, persons)
		if err != nil {
			im.reject(d.line, -1, err)
			run[i] = nil
			continue
		}
		if owner.Version > 0 {
			d.found = owner.ElderID
			if owner.Digest == d.row.Digest {
				im.report.Unchanged++
				run[i] = nil
			}
			continue
		}
		e := &d.row.Elder
		if e.ID = owner.ElderID; e.ID == "" {
			e.ID = NewID[ElderID]()
		}
		e.CreatedAt, e.UpdatedAt, e.Version = now, now, 1
		im.r.seal(&d.row)
		if _, twice := im.spelled[e.Name]; twice {
			d.row.Tokens = nil
		} else {
			im.spelled[e.Name] = struct{}{}
		}
	}
	return nil
}

// owner is whose record a row is: by its unique keys, else by name, birth and area.
func (im *elderImport) owner(d *draft, owners map[string]IdentOwner, persons map[Person][]ElderRow) (IdentOwner, error) {
	var found IdentOwner
	for _, ident := range d.row.Idents {
		o, ok := owners[ident]
		switch {
		case !ok:
		case found.ElderID == "" || found.Version == 0 && o.Version > 0:
			found = o
		case o.ElderID != found.ElderID && o.Version > 0 && found.Version > 0:
			return found, Invalid(identField(ident), "the %s belongs to another record than the %s", identName(ident), identName(d.row.Idents[0]))
		}
	}
	if found.Version > 0 || len(persons) == 0 || d.row.Elder.BirthDate == "" {
		return found, nil
	}
	var same []ElderRow
	for _, row := range persons[personOf(d.row.Elder)] {
		// Two numbers, or two keys, are two people of one name.
		if (d.row.Elder.IDNumber == "" || row.Elder.IDNumber == "") && (d.row.Elder.ExternalKey == "" || row.Elder.ExternalKey == "" || row.Elder.Source != d.row.Elder.Source) {
			same = append(same, row)
		}
	}
	switch len(same) {
	case 0:
		return found, nil
	case 1:
		return IdentOwner{ElderID: same[0].Elder.ID, Version: same[0].Elder.Version, Digest: same[0].Digest}, nil
	}
	return found, Invalid("name", "%d records have this name, birth date and area; give an ID number or a key", len(same))
}

func personOf(e Elder) Person {
	return Person{Name: e.Name, BirthDate: e.BirthDate, AreaCode: e.AreaCode}
}

// findPersons reads the records that might be a row's by name, birth and area.
func (im *elderImport) findPersons(ctx context.Context, run []*draft, owners map[string]IdentOwner) (map[Person][]ElderRow, error) {
	if im.was == 0 {
		return nil, nil
	}
	var wanted []Person
	for _, d := range run {
		known := slices.ContainsFunc(d.row.Idents, func(s string) bool { return owners[s].Version > 0 })
		if !known && d.row.Elder.BirthDate != "" {
			wanted = append(wanted, personOf(d.row.Elder))
		}
	}
	ids, err := im.r.store.FindPersons(ctx, wanted)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	found := make(map[Person][]ElderRow, len(ids))
	for p, list := range ids {
		rows, err := im.r.store.ElderRows(ctx, list)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if row.Elder, err = im.r.unseal(row); err != nil {
				return nil, err
			}
			found[p] = append(found[p], row)
		}
	}
	return found, nil
}

// fresh are the rows of a run whose record is not here yet.
func fresh(run []*draft) []*ElderRow {
	rows := make([]*ElderRow, 0, len(run))
	for _, d := range run {
		if d != nil && d.found == "" {
			rows = append(rows, &d.row)
		}
	}
	return rows
}

// changeRows are the changed elders of one commit.
const changeRows = 50

// load writes a run: new rows in bulk, changed ones one by one in small commits.
func (im *elderImport) load(ctx context.Context, run []*draft) error {
	rows := fresh(run)
	refused, err := im.r.store.LoadElders(ctx, rows, &im.note)
	if err != nil {
		return err
	}
	im.report.Added += len(rows) - len(refused)
	late := make(map[ElderID]bool, len(refused))
	for _, id := range refused {
		late[id] = true
	}
	var known []*draft
	for _, d := range run {
		switch {
		case d == nil:
		case d.found != "":
			known = append(known, d)
		case late[d.row.Elder.ID]:
			im.reject(d.line, -1, Invalid("", "the person was entered by somebody else at this moment; import the row again"))
		}
	}
	for chunk := range slices.Chunk(known, changeRows) {
		if err := im.change(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// change brings records that are here to what the rows say.
func (im *elderImport) change(ctx context.Context, chunk []*draft) error {
	var bad map[*draft]error
	err := im.r.store.Change(ctx, func(tx Tx) error {
		bad = map[*draft]error{}
		for _, d := range chunk {
			err := im.changeOne(tx, d)
			if ce := (*Error)(nil); errors.As(err, &ce) {
				bad[d] = err
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range chunk {
		if err := bad[d]; err != nil {
			im.reject(d.line, columnOf(im.columns, err), err)
			continue
		}
		im.report.Changed++
	}
	return nil
}

func (im *elderImport) changeOne(tx Tx, d *draft) error {
	row, err := tx.Elder(d.found)
	if err != nil {
		return err
	}
	was, err := im.r.withKeys(row)
	if err != nil {
		return err
	}
	e, err := im.r.unseal(row)
	if err != nil {
		return err
	}
	before := e
	filled := elderDraft{Elder: e}
	if _, err = im.fill(&filled, d.line); err != nil {
		return err
	}
	e = filled.Elder
	if e.Name != before.Name && (d.row.Elder.IDNumber == "" || d.row.Elder.IDNumber != before.IDNumber) {
		return Invalid("name", "the record that has this key is of another name, and no ID number says that they are one person")
	}
	return im.r.putElder(tx, &e, was, d.row.Digest, im.o.Actor)
}
