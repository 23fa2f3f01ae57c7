package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"anling/care"
	"anling/store"
	"anling/web"
)

type importCmd struct {
	Kind     string        `arg:"" enum:"elders,devices,providers,responders" help:"What the file lists: elders, devices, providers or responders."`
	File     string        `arg:"" help:"CSV file, UTF-8 or GB18030, with a header in Chinese or English." type:"existingfile"`
	Encoding string        `help:"utf-8 or gb18030; found out by itself when not given." enum:",utf-8,gb18030" default:""`
	Source   string        `help:"Name of the list, when several lists have keys of their own."`
	Server   string        `help:"Address of a running server, such as http://127.0.0.1:8080; without it the database is opened directly."`
	User     string        `help:"Account on that server." default:"admin"`
	Password string        `help:"Its password." env:"ANLING_PASSWORD"`
	Timeout  time.Duration `help:"Limit of the whole import." default:"1h"`
}

func (c importCmd) Run(ctx context.Context, root *cli) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	in, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	rejects := &lateFile{path: c.File + ".rejected.csv"}
	if err := os.Remove(rejects.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("former file of rejected rows: %w", err)
	}
	var report care.Report
	if c.Server != "" {
		report, err = c.remote(ctx, in, rejects)
	} else {
		// The program does nothing else: garbage may grow, up to a bound.
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(importMemory)
		cfg, cerr := root.load()
		if cerr != nil {
			return cerr
		}
		err = withRegistry(ctx, cfg, func(ctx context.Context, r *care.Registry) (err error) {
			report, err = r.Import(ctx, c.Kind, in, care.ImportOptions{Encoding: c.Encoding, Source: c.Source, Rejects: rejects, Actor: byCLI, Progress: progress, Run: importRun})
			return err
		})
		if errors.Is(err, store.ErrLocked) {
			err = fmt.Errorf("%w, or give its address with --server", err)
		}
	}
	err = errors.Join(err, rejects.Close())
	c.tell(report, rejects)
	if err == nil && report.Rejected > 0 && report.Added+report.Changed+report.Unchanged == 0 {
		return errors.New("no row could be taken")
	}
	return err
}

const (
	importMemory = 2 << 30   // where the heap is held down, in bytes
	importRun    = 128 << 10 // elders that are sorted together
)

func progress(rows int) { fmt.Fprintf(os.Stderr, "\r%d rows", rows) }

// tell prints the report for a person.
func (c importCmd) tell(r care.Report, rejects *lateFile) {
	fmt.Fprintln(os.Stderr)
	for i, p := range r.Problems {
		if i == 20 {
			fmt.Printf("… and more in %s\n", rejects.path)
			break
		}
		fmt.Println(p)
	}
	for i, q := range r.Questions {
		if i == 20 {
			fmt.Printf("… and %d more questions\n", len(r.Questions)-i)
			break
		}
		fmt.Printf("line %d, %s: taken, but please check (%s)\n", q.Line, q.Column, q.Reason)
	}
	if len(r.Ignored) > 0 {
		fmt.Printf("columns that mean nothing to this import: %s\n", strings.Join(r.Ignored, ", "))
	}
	rate := 0.0
	if r.Seconds > 0 {
		rate = float64(r.Rows) / r.Seconds
	}
	fmt.Printf("%s: %d rows, %d added, %d changed, %d unchanged, %d rejected; %.1f s, %.0f rows/s\n",
		c.Kind, r.Rows, r.Added, r.Changed, r.Unchanged, r.Rejected, r.Seconds, rate)
	if r.Rejected > 0 {
		fmt.Printf("the rejected rows are in %s; correct them there and import that file\n", rejects.path)
	}
}

// remote hands the file to a running server.
func (c importCmd) remote(ctx context.Context, in io.Reader, rejects io.Writer) (care.Report, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return care.Report{}, err
	}
	client := &http.Client{Jar: jar}
	base := strings.TrimSuffix(c.Server, "/") + "/api/v1"
	login, err := json.Marshal(map[string]string{"name": c.User, "password": c.Password})
	if err != nil {
		return care.Report{}, err
	}
	if err := post(ctx, client, base+"/login", "application/json", bytes.NewReader(login), nil); err != nil {
		return care.Report{}, fmt.Errorf("sign in as %s: %w", c.User, err)
	}
	var answer web.ImportReport
	q := url.Values{"encoding": {c.Encoding}, "source": {c.Source}}
	if err := post(ctx, client, base+"/import/"+c.Kind+"?"+q.Encode(), "text/csv", in, &answer); err != nil {
		return answer.Report, err
	}
	if answer.RejectedCSV != "" {
		if _, err := io.WriteString(rejects, answer.RejectedCSV); err != nil {
			return answer.Report, err
		}
	}
	return answer.Report, nil
}

// post sends one request; an answer other than 2xx is the error that it says.
func post(ctx context.Context, client *http.Client, to, kind string, body io.Reader, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Idempotency-Key", care.NewID[string]())
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end below
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<30))
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		var e struct{ Code, Message string }
		if json.Unmarshal(text, &e) == nil && e.Message != "" {
			return fmt.Errorf("the server answers %s: %s", res.Status, e.Message)
		}
		return fmt.Errorf("the server answers %s", res.Status)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// lateFile is made at the first write: a good import leaves no file behind.
type lateFile struct {
	path string
	f    *os.File
}

// Write implements io.Writer.
func (l *lateFile) Write(b []byte) (int, error) {
	if l.f == nil {
		f, err := os.OpenFile(l.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // it names people
		if err != nil {
			return 0, err
		}
		l.f = f
	}
	return l.f.Write(b)
}

// Close implements io.Closer.
func (l *lateFile) Close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
