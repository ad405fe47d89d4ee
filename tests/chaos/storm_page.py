"""Write the table of many storms into docs/storms.md, between its two marks.

python tests/chaos/storm_page.py RESULTS...
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.storm import read_results
from chaos.storm_record import table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "storms.md"
BEGIN, END = "<!-- the table -->", "<!-- end of the table -->"


def main() -> None:
    """Sum the files of results that are named."""
    results = [result for name in sys.argv[1:] for result in read_results(Path(name))]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
