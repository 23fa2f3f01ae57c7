package web

import "embed"

// dist is what webbuild makes of web/src; it is committed, so that building the
// server needs Go alone.
//
//go:embed all:dist
var dist embed.FS
