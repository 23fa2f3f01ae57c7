package store

// Waiting tells how many changes wait for SQLite's writer.
func (s *Store) Waiting() int {
	w := s.engine.(*sqliteEngine).writer
	return len(w.urgent) + len(w.normal) + len(w.bulk)
}

// LogFrames is how long SQLite's write-ahead log was when it was last looked at.
func (s *Store) LogFrames() int64 { return s.engine.(*sqliteEngine).frames.Load() }
