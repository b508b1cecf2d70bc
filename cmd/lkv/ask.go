package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// interactive tells whether somebody can be asked.
func (s system) interactive() bool { return s.Raw != nil && s.ErrTerminal }

// typed asks on the terminal for a word and tells whether it was typed.
func (s system) typed(question, word string) (bool, error) {
	s.note("%s\ntype %s to go on: ", question, word)
	line, err := bufio.NewReader(s.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	return strings.TrimSpace(line) == word, nil
}

// refused says that nothing was done, because the answer was another one.
func refused() error {
	return &exit{exitError, errors.New("that was something else: nothing was done")}
}
