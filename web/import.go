package web

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"anling/care"
)

const (
	importTime = 30 * time.Minute
	importMax  = 512 << 20
)

// ImportReport is what became of a list, with the refused rows.
type ImportReport struct {
	care.Report
	RejectedCSV string `json:"rejected_csv,omitempty" doc:"The refused rows with line, column and reason; the first 16 MiB"`
}

var importKinds = []string{care.ImportElders, care.ImportDevices, care.ImportProviders, care.ImportResponders}

// importDoor takes lists.
func (s *Server) importDoor(mux *http.ServeMux) {
	d := door{id: "import-list", method: http.MethodPost, path: "/import/{kind}", tag: "registry", summary: "Load a CSV list of elders, devices, providers or responders; a repeat doubles nothing", roles: admins}
	s.raw(mux, d, func(op *huma.Operation) {
		op.Parameters = []*huma.Param{pathParam("kind", "elders, devices, providers or responders"),
			{Name: "encoding", In: "query", Description: "utf-8 or gb18030; found out when it is not given", Schema: &huma.Schema{Type: "string"}},
			{Name: "source", In: "query", Description: "Name of the list, when several have keys of their own", Schema: &huma.Schema{Type: "string"}}}
		op.RequestBody = &huma.RequestBody{Required: true, Description: "With a header in Chinese or English, up to 512 MiB", Content: map[string]*huma.MediaType{"text/csv": {}}}
		op.Responses["200"] = s.jsonResponse("The report", reflect.TypeFor[ImportReport]())
	}, s.importCSV)
}

// importCSV streams a list into the registry and answers its report.
func (s *Server) importCSV(w http.ResponseWriter, r *http.Request, u reader) error {
	if s.opts.Importer == nil {
		return errNoRegistry
	}
	kind := r.PathValue("kind")
	if !slices.Contains(importKinds, kind) {
		return care.Invalid("kind", "%q is not one of %v", kind, importKinds)
	}
	longAnswer(w, importTime, importTime)
	ctx, cancel := context.WithTimeout(r.Context(), importTime)
	defer cancel()
	if err := s.mustAudit(ctx, u, "import", "registry:"+kind, ""); err != nil {
		return err
	}
	o := care.ImportOptions{Actor: u.actor(), Encoding: r.URL.Query().Get("encoding"), Source: r.URL.Query().Get("source")}
	report, err := s.opts.Importer.Import(ctx, kind, http.MaxBytesReader(w, r.Body, importMax), o)
	if big := new(http.MaxBytesError); errors.As(err, &big) {
		return refuse("too_large", "the list is over 512 MiB; split it")
	}
	if err != nil {
		return err
	}
	s.names.forget()
	answerJSON(w, report)
	return nil
}
