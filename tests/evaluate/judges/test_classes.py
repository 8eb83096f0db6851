from unicomp_lib.evaluate.judges import classes, closed


def test_classes_have_one_number_whatever_an_item_lists():
    items = [
        {"options": ["gerd", "anemia"], "gold": 0},
        {"options": ["pericarditis", "gerd"], "gold": 0},
        {"options": ["anemia", "pericarditis", "gerd"], "gold": 1},
    ]
    answers = ["Anemia.", "It is gerd", "I cannot tell"]
    verdicts = classes.classes(items, answers)
    # In the order of names: anemia, gerd, pericarditis.
    assert [(row["gold"], row["choice"]) for row in verdicts] == [(1, 0), (2, 1), (2, -1)]
    assert [{name: row[name] for name in ("right", "failed")} for row in verdicts] == closed.label(items, answers)
