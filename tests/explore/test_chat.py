from unicomp_lib.explore import chat


def test_an_answer_is_the_models_greedy_one(tiny):
    model, tokenizer = tiny
    inputs = tokenizer("Hello", return_tensors="pt")
    written = model.generate(**inputs, max_new_tokens=5, do_sample=False, pad_token_id=0)[0]
    expected = tokenizer.decode(written[inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    assert chat.answer(model, tokenizer, [{"role": "user", "content": "Hello"}], limit=5) == expected


def test_a_chat_model_is_asked_in_its_own_template(dense):
    assert "Paris" in chat.answer(*dense, [{"role": "user", "content": "What is the capital of France?"}], limit=12)


def test_answers_are_compared_in_one_table(tiny):
    answers = chat.compare({"a": tiny, "b": tiny}, ["one", "two"], limit=3)
    assert answers.columns == ["question", "a", "b"]
    assert answers["question"].to_list() == ["one", "two"]
    assert answers["a"].to_list() == answers["b"].to_list()


def test_what_is_typed_goes_to_all_and_nothing_typed_or_written_is_run(tiny, monkeypatch):
    shown = []
    monkeypatch.setattr(chat, "display", shown.append)
    monkeypatch.setattr(chat, "answer", lambda model, tokenizer, turns, limit: f"<script>{len(turns)}</script>")
    chat.box({"a": tiny, "b": tiny})
    line, columns = shown[0].children
    for _ in range(2):
        line.value = "<b>hi</b>"
    assert line.value == ""
    for column in columns.children:
        assert column.value.count("You:") == 2
        assert "&lt;b&gt;hi&lt;/b&gt;" in column.value
        assert "&lt;script&gt;3&lt;/script&gt;" in column.value
        assert "<script>" not in column.value
