"""What can be wrong with a mapping or a row, in both languages: found now, told when somebody reads it."""

from collections.abc import Iterable, Mapping

import msgspec

from shared.language import Language, Text

TEXTS: Mapping[str, Text] = {
    "missing_value": {"zh": "缺少必填的值", "en": "A value is needed here"},
    "unknown_field": {"zh": "映射中没有“{value}”这个键", "en": "A mapping has no key {value!r}"},
    "unknown_column": {"zh": "文件中没有“{value}”这一列", "en": "The file has no column {value!r}"},
    "unknown_process": {"zh": "没有“{value}”这个销售流程", "en": "There is no sales process {value!r}"},
    "other_process": {"zh": "商机已在流程“{value}”中", "en": "The deal is already in the process {value!r}"},
    "not_recorded": {"zh": "此行无法记录：{value}", "en": "The row could not be recorded: {value}"},
    "unknown_stage": {"zh": "流程中没有“{value}”这个阶段", "en": "The process has no stage {value!r}"},
    "unknown_lifecycle": {"zh": "没有“{value}”这个客户状态", "en": "There is no customer lifecycle {value!r}"},
    "wrong_mapping": {"zh": "此处的映射写法不正确", "en": "The mapping is not written as it must be here"},
    "not_a_currency": {"zh": "“{value}”不是三个字母的币种代码", "en": "{value!r} is not a three-letter currency code"},
    "not_a_secret": {
        "zh": "密钥应为 whsec_ 加 24 至 64 字节的 Base64",
        "en": "A secret is whsec_ and the Base64 of 24 to 64 bytes",
    },
    "not_a_number": {"zh": "“{value}”不是数字", "en": "{value!r} is not a number"},
    "negative_amount": {"zh": "金额“{value}”为负", "en": "The amount {value!r} is negative"},
    "not_an_amount": {
        "zh": "“{value}”超出金额范围或小数位过多",
        "en": "{value!r} is too large or has too many decimals for its currency",
    },
    "not_a_date": {"zh": "“{value}”不是日期", "en": "{value!r} is not a date"},
    "not_an_id": {"zh": "“{value}”不是 UUID", "en": "{value!r} is not a UUID"},
    "not_an_object": {"zh": "此行不是 JSON 对象", "en": "The line is not a JSON object"},
    "not_a_record": {"zh": "此行不是有效的 CSV 记录：{value}", "en": "The line is not a CSV record: {value}"},
    "not_in_encoding": {"zh": "此行不是有效的 {value} 文本", "en": "The line is not text in {value}"},
    "wrong_number_of_cells": {
        "zh": "此行的单元格数与表头不同：{value}",
        "en": "The row has another number of cells than the header: {value}",
    },
    "forbidden_character": {"zh": "值中含有空字符", "en": "The value holds a null character"},
    "too_long": {"zh": "值过长", "en": "The value is too long"},
    "duplicate_in_file": {"zh": "与第 {value} 行的编号重复", "en": "Line {value} has the same id"},
    "not_utf8_or_gb18030": {"zh": "文件既不是 UTF-8 也不是 GB18030", "en": "The file is neither UTF-8 nor GB18030"},
    "empty_file": {"zh": "文件没有表头", "en": "The file has no header"},
    "duplicate_column": {"zh": "表头中“{value}”出现多次", "en": "The header names {value!r} more than once"},
    "unknown_event_type": {"zh": "未知的事件类型“{value}”", "en": "The event type {value!r} is not known"},
    "in_the_future": {"zh": "时间 {value} 在未来", "en": "The time {value} is in the future"},
    "body_expired": {"zh": "原始内容已过期删除", "en": "The raw body has expired and was deleted"},
}


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: `where` is a column name, or a JSON pointer into a mapping; null for a whole row."""

    code: str
    where: str | None = None
    value: str | None = None

    @property
    def text(self) -> Text:
        """The problem in both languages."""
        template = TEXTS[self.code]
        shown = (self.value or "")[:100]
        return {"zh": template["zh"].format(value=shown), "en": template["en"].format(value=shown)}

    def told_in(self, language: Language) -> str:
        return self.text[language]


class Rejected(ValueError):  # noqa: N818 - the name of the fact
    """A mapping or a row that cannot be taken, with everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(", ".join(f"{problem.code} {problem.where}" for problem in self.problems))
