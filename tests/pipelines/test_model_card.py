def test_a_card_says_how_the_weights_came_about(tiny_pipeline):
    facts = {"data": "a corpus: 3 hours", "steps": "1,000"}
    card = tiny_pipeline.model_card("me/voice", license="cc-by-4.0", training=facts)
    assert card.data.license == "cc-by-4.0"
    assert "## Training\n\n| | |\n|---|---|\n| data | a corpus: 3 hours |\n| steps | 1,000 |\n" in card.content
    assert "## Training" not in tiny_pipeline.model_card("me/voice").content
