package store

// Waiting tells how many changes wait for SQLite's writer.
func (s *Store) Waiting() int {
	w := s.engine.(*sqliteEngine).writer
	return len(w.urgent) + len(w.normal) + len(w.bulk)
}
