"""What is wrong with one field, in Chinese and English, by the validator's error type."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.language import Text


class FieldText(NamedTuple):
    """A stable code and a text with places for the validator's limits."""

    code: str
    zh: str
    en: str


_NUMBER = FieldText("wrong_type", "应为数字", "must be a number")
_INTEGER = FieldText("wrong_type", "应为整数", "must be an integer")
_TEXT = FieldText("wrong_type", "应为文本", "must be a text")
_BOOLEAN = FieldText("wrong_type", "应为 true 或 false", "must be true or false")
_OBJECT = FieldText("wrong_type", "应为 JSON 对象", "must be a JSON object")
_LIST = FieldText("wrong_type", "应为数组", "must be an array")
_UUID = FieldText("invalid_format", "应为 UUID", "must be a UUID")
_TIME = FieldText(
    "invalid_format",
    "应为带时区的 RFC 3339 时间，例如 2026-11-23T09:00:00Z",
    "must be an RFC 3339 time with a zone, such as 2026-11-23T09:00:00Z",
)
_DATE = FieldText("invalid_format", "应为 ISO 日期，例如 2026-11-23", "must be an ISO date, such as 2026-11-23")
_DURATION = FieldText("invalid_format", "应为 ISO 8601 时长，例如 P5D", "must be an ISO 8601 duration, such as P5D")
_DECIMAL = FieldText("invalid_format", "应为十进制数", "must be a decimal number")
_URL = FieldText("invalid_format", "应为有效的网址", "must be a valid URL")
_OTHER = FieldText("invalid", "无效的值", "is not valid")

_BY_TYPE: Mapping[str, FieldText] = {
    "missing": FieldText("required", "必填", "is required"),
    "extra_forbidden": FieldText("unknown_field", "未知的字段", "is not a known field"),
    "unknown_parameter": FieldText("unknown_parameter", "未知的查询参数", "is not a known query parameter"),
    "repeated_parameter": FieldText("repeated_parameter", "只能给出一次", "must be given only once"),
    "unusable_text": FieldText(
        "unusable_text", "文本不能含有 NUL 或孤立的代理字符", "must not hold NUL or unpaired surrogates"
    ),
    "too_deep": FieldText("too_deep", "嵌套过深", "is nested too deeply"),
    "string_type": _TEXT,
    "string_unicode": FieldText("unusable_text", "应为有效的 Unicode 文本", "must be valid Unicode text"),
    "string_too_short": FieldText(
        "too_short", "至少 {min_length} 个字符", "must have at least {min_length} characters"
    ),
    "string_too_long": FieldText("too_long", "至多 {max_length} 个字符", "must have at most {max_length} characters"),
    "string_pattern_mismatch": FieldText("invalid_format", "格式应为 {pattern}", "must match {pattern}"),
    "too_short": FieldText("too_short", "至少 {min_length} 项", "must have at least {min_length} items"),
    "too_long": FieldText("too_long", "至多 {max_length} 项", "must have at most {max_length} items"),
    "greater_than": FieldText("too_small", "应大于 {gt}", "must be greater than {gt}"),
    "greater_than_equal": FieldText("too_small", "应不小于 {ge}", "must be at least {ge}"),
    "less_than": FieldText("too_large", "应小于 {lt}", "must be less than {lt}"),
    "less_than_equal": FieldText("too_large", "应不大于 {le}", "must be at most {le}"),
    "literal_error": FieldText("not_allowed", "应为 {expected} 之一", "must be one of {expected}"),
    "enum": FieldText("not_allowed", "应为 {expected} 之一", "must be one of {expected}"),
    "union_tag_invalid": FieldText("not_allowed", "应为 {expected_tags} 之一", "must be one of {expected_tags}"),
    "union_tag_not_found": FieldText("required", "缺少 {discriminator}", "needs {discriminator}"),
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_from_float": _INTEGER,
    "int_parsing_size": FieldText("too_large", "数字过大", "is too large"),
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "decimal_type": _DECIMAL,
    "decimal_parsing": _DECIMAL,
    "decimal_max_digits": FieldText("too_long", "至多 {max_digits} 位数字", "must have at most {max_digits} digits"),
    "decimal_max_places": FieldText(
        "too_precise", "至多 {decimal_places} 位小数", "must have at most {decimal_places} decimals"
    ),
    "decimal_whole_digits": FieldText(
        "too_large", "整数部分至多 {whole_digits} 位", "must have at most {whole_digits} digits before the point"
    ),
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "uuid_type": _UUID,
    "uuid_parsing": _UUID,
    "uuid_version": _UUID,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "timezone_aware": _TIME,
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "time_delta_type": _DURATION,
    "time_delta_parsing": _DURATION,
    "url_type": _URL,
    "url_parsing": _URL,
    "url_scheme": _URL,
    "url_too_long": _URL,
}

_LISTS = ("expected", "expected_tags")


def field_text(kind: str, context: Mapping[str, Any]) -> tuple[str, Text]:
    """Return code and text for a validator's error type; a validator of ours brings both texts in its context."""
    if "zh" in context and "en" in context:
        return kind, {"zh": str(context["zh"]), "en": str(context["en"])}
    known = _BY_TYPE.get(kind, _OTHER)
    return known.code, {"zh": _filled(known.zh, _with_chinese_lists(context)), "en": _filled(known.en, context)}


def _with_chinese_lists(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `context` with Pydantic's English lists of choices, `'a', 'b' or 'c'`, as Chinese ones."""
    lists = {name: str(context[name]) for name in _LISTS if name in context}
    return {**context, **{name: text.replace(" or ", "或").replace(", ", "、") for name, text in lists.items()}}


def _filled(template: str, context: Mapping[str, Any]) -> str:
    try:
        return template.format_map(context)
    except KeyError:
        return template
