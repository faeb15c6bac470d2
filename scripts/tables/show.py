"""Print the tables of all papers from their JSON files.

python scripts/tables/show.py
"""

from tables import RESULTS, text

NAMES = ("burda2016", "li_turner2016", "rainforth2018")

if __name__ == "__main__":
    for name in NAMES:
        path = RESULTS / f"{name}.json"
        if path.exists():
            print(f"{name}\n\n{text(path)}\n")
