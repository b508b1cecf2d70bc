package specs

import (
	"os"
	"strings"
)

// sense warns of numbers and times that are possible each for itself, and do nothing together. A fleet may be small
// for a while, and a variable may say how large it is: none of this is refused.
func (l *loader) sense(f Fleet) {
	r, n := f.Rollout, len(f.Members())
	if n > 0 && r.Canaries > n {
		l.warn(l.at["rollout.canaries "+r.Pos.String()], "Doubtful value for canaries",
			"The fleet has %d VMs, so every one would be a canary: write canaries = 1", n)
	}
	if n > 0 && r.MaxFailed > n {
		l.warn(l.at["rollout.max_failed "+r.Pos.String()], "Doubtful value for max_failed",
			"The fleet has %d VMs, so it would not stand still when all of them have failed: write max_failed = 1", n)
	}
	if most := r.ProgressDeadline; most > 0 && most < f.Ready.Timeout {
		l.warn(l.at["rollout.progress_deadline "+r.Pos.String()], "Doubtful value for progress_deadline",
			"A roll would have failed after %s, before its VM has had the %s of ready { timeout }: write a longer progress_deadline, for example \"30m\", or a shorter timeout.", most, f.Ready.Timeout)
	}
}

// program warns of a program that is not here, which need not be the machine that runs it. One without a slash is looked
// for in the PATH of whoever runs it.
func (s *scope) program(command []string) {
	if len(command) == 0 || !strings.Contains(command[0], "/") {
		return
	}
	path := inDir(s.l.dir, command[0])
	if st, err := os.Stat(path); err != nil || st.IsDir() {
		s.doubt("command", "There is no program %s: put it there on the machine that runs lkv reconcile, or write the name of one that is there; names start from the directory of the spec.", path)
	}
}
