// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package python

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/debian"
)

// run runs a program without a network that it could use.
func run(t *testing.T, dir, program string, arguments ...string) string {
	t.Helper()
	c := exec.Command(program, arguments...)
	c.Dir = dir
	// PYTHONDONTWRITEBYTECODE is not set, for pip leaves nothing either way.
	c.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "PIP_NO_INDEX=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "http_proxy=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1"}
	output, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, arguments, err, output)
	}
	return string(output)
}

// copied returns a folder with a copy of the package as a clone of the repository has it, and
// what its files are.
func copied(t *testing.T) (folder string, files []string) {
	t.Helper()
	root := t.TempDir()
	folder = filepath.Join(root, "clients", "python")
	for _, name := range []string{"pyproject.toml", "build_backend.py", "README.md", "../../LICENSE"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(folder, "wsgi_party"), os.DirFS("wsgi_party")); err != nil {
		t.Fatal(err)
	}
	return folder, listed(t, folder)
}

func listed(t *testing.T, folder string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if entry.IsDir() && entry.Name() == "__pycache__" && filepath.Dir(path) != folder {
			return fs.SkipDir // of who ran these tests from here
		}
		files = append(files, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// installed says of the package that is installed where it is, its version, and its files.
const installed = "import wsgi_party._guest as g, importlib.metadata as m; d = m.distribution('wsgi-party-caddy'); print(g.__file__, d.version, *d.files)"

// TestThePackageIsInstalledWithoutANetwork has pip do so in fresh venvs of the oldest Python that is here and of
// the one of the PATH, there also editable, and from an sdist.
func TestThePackageIsInstalledWithoutANetwork(t *testing.T) {
	debian.Install(t, "python3-venv")
	all := pythons(t)
	for i, python := range all[:min(2, len(all))] {
		t.Run(fmt.Sprintf("%d.%d", python.version[0], python.version[1]), func(t *testing.T) {
			t.Parallel()
			folder, before := copied(t)
			venv := filepath.Join(t.TempDir(), "venv")
			run(t, "/", python.path, "-m", "venv", venv)
			pip, inside := filepath.Join(venv, "bin", "pip"), filepath.Join(venv, "bin", "python")
			run(t, "/", pip, "install", folder)
			for _, file := range []string{venv, " wsgi_party/py.typed ", " wsgi_party/django/templatetags/wsgi_party.py ", ".dist-info/licenses/LICENSE"} {
				if got := run(t, "/", inside, "-B", "-c", installed); !strings.Contains(got, file) || strings.Contains(got, "test_") {
					t.Errorf("without %s: %s", file, got)
				}
			}
			if i == 0 {
				run(t, "/", pip, "install", "-e", folder)
				if got := run(t, "/", inside, "-B", "-c", installed); !strings.HasPrefix(got, folder) {
					t.Errorf("editable: %s", got)
				}
				sdist := t.TempDir()
				run(t, folder, python.path, "-B", "-c", "import build_backend, sys; build_backend.build_sdist(sys.argv[1])", sdist)
				run(t, sdist, "sh", "-c", pip+" install --force-reinstall wsgi_party_caddy-*.tar.gz")
				if got := run(t, "/", inside, "-B", "-c", installed); !strings.HasPrefix(got, venv) || !strings.Contains(got, "licenses/LICENSE") {
					t.Errorf("from an sdist: %s", got)
				}
			}
			if after := listed(t, folder); !slices.Equal(after, before) {
				t.Errorf("there is now %q, and was %q", after, before)
			}
		})
	}
}

// wheel has the Python build one of the folder, and returns what is in it.
func wheel(t *testing.T, python interpreter, folder string) (names, modes, contents []string) {
	t.Helper()
	built := t.TempDir()
	run(t, folder, python.path, "-B", "-c", "import build_backend, sys; build_backend.build_wheel(sys.argv[1])", built)
	paths, err := filepath.Glob(filepath.Join(built, "wsgi_party_caddy-*-py3-none-any.whl"))
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	archive, err := zip.OpenReader(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, entry := range archive.File {
		content, err := fs.ReadFile(archive, entry.Name)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, entry.Name)
		modes = append(modes, fmt.Sprint(entry.Mode(), entry.Modified))
		contents = append(contents, string(content))
	}
	return names, modes, contents
}

// TestAWheelIsTheSameAgainAndSaysWhatIsInIt builds it by several Pythons, from files of other times and modes.
// (Its bytes may differ by the zlib of a Python.)
func TestAWheelIsTheSameAgainAndSaysWhatIsInIt(t *testing.T) {
	all := pythons(t)
	folder, _ := copied(t)
	names, modes, contents := wheel(t, all[0], folder)
	run(t, folder, "sh", "-c", "find . -type f -exec chmod 600 {} + && find . -exec touch -d 2001-01-01 {} +")
	for _, python := range all {
		againNames, againModes, againContents := wheel(t, python, folder)
		if !slices.Equal(againNames, names) || !slices.Equal(againModes, modes) || !slices.Equal(againContents, contents) {
			t.Errorf("%s builds another one, of %q, first of %q", python.path, againNames, names)
		}
	}
	last := len(names) - 1
	var record strings.Builder
	for i, name := range names[:last] {
		digest := sha256.Sum256([]byte(contents[i]))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(digest[:]), len(contents[i]))
	}
	if want := record.String() + names[last] + ",,\n"; contents[last] != want {
		t.Errorf("RECORD is %s, want %s", contents[last], want)
	}
	if !strings.HasPrefix(modes[0], "-rw-r--r-- 1980-01-01") {
		t.Error(modes[0])
	}
}

// TestTheTypesAreRight has mypy look at them as strictly as it can, for this Python and the oldest. What it has
// found out of frameworks, which takes it half a minute, it keeps where go keeps what it has built.
func TestTheTypesAreRight(t *testing.T) {
	installFrameworks(t)
	debian.Install(t, "mypy")
	kept, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"3.8", "3.11"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c := exec.Command("/usr/bin/mypy", "--strict", "--python-version", version, "--cache-dir", filepath.Join(kept, "wsgiparty-mypy"), "wsgi_party")
			if output, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}
