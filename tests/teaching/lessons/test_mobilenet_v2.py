"""The quick form of the lesson on MobileNetV2."""


def test_relu_keeps_more_in_more_dimensions(quick_numbers):
    lesson, numbers = quick_numbers("mobilenet_v2")
    assert numbers["error/2"].mean() > numbers["error/5"].mean() > numbers["error/30"].mean()
    assert set(lesson.draw(numbers)) == {"spiral"}
