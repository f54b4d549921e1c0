"""What the generic problems say, in Chinese and English."""

from collections.abc import Mapping
from http import HTTPStatus

from shared.language import Text

TITLES: Mapping[int, Text] = {
    HTTPStatus.BAD_REQUEST: {"zh": "请求有误", "en": "Bad request"},
    HTTPStatus.UNAUTHORIZED: {"zh": "未认证", "en": "Not authenticated"},
    HTTPStatus.FORBIDDEN: {"zh": "无权限", "en": "Forbidden"},
    HTTPStatus.NOT_FOUND: {"zh": "未找到", "en": "Not found"},
    HTTPStatus.METHOD_NOT_ALLOWED: {"zh": "方法不允许", "en": "Method not allowed"},
    HTTPStatus.NOT_ACCEPTABLE: {"zh": "无法提供该格式", "en": "Not acceptable"},
    HTTPStatus.CONFLICT: {"zh": "与当前状态冲突", "en": "Conflict"},
    HTTPStatus.GONE: {"zh": "已不存在", "en": "Gone"},
    HTTPStatus.PRECONDITION_FAILED: {"zh": "前提条件不成立", "en": "Precondition failed"},
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"zh": "请求体过大", "en": "Content too large"},
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: {"zh": "不支持的内容类型", "en": "Unsupported media type"},
    HTTPStatus.UNPROCESSABLE_ENTITY: {"zh": "内容无效", "en": "Unprocessable content"},
    HTTPStatus.PRECONDITION_REQUIRED: {"zh": "缺少前提条件", "en": "Precondition required"},
    HTTPStatus.TOO_MANY_REQUESTS: {"zh": "请求过于频繁", "en": "Too many requests"},
    HTTPStatus.INTERNAL_SERVER_ERROR: {"zh": "服务器内部错误", "en": "Internal server error"},
    HTTPStatus.BAD_GATEWAY: {"zh": "上游服务出错", "en": "Bad gateway"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"zh": "服务暂不可用", "en": "Service unavailable"},
}

TEXTS: Mapping[str, Text] = {
    "not_found": {"zh": "没有该资源，或您无权查看。", "en": "There is no such thing, or you may not see it."},
    "validation_failed": {
        "zh": "请求中有无效的内容，详见 errors。",
        "en": "The request has invalid parts; see errors.",
    },
    "malformed_json": {"zh": "请求体不是有效的 UTF-8 JSON。", "en": "The body is not valid JSON in UTF-8."},
    "malformed_body": {"zh": "无法解析请求体。", "en": "The body cannot be read."},
    "unsupported_media_type": {
        "zh": "请以 Content-Type: application/json 发送请求体。",
        "en": "Send the body as Content-Type: application/json.",
    },
    "method_not_allowed": {
        "zh": "此路径不支持该方法，允许的方法见 Allow 响应头。",
        "en": "This path does not know that method; the Allow header names those it knows.",
    },
    "body_too_large": {"zh": "请求体超过允许的大小。", "en": "The body is larger than allowed."},
    "unauthenticated": {
        "zh": "需要身份令牌：Authorization: Bearer <令牌>。",
        "en": "A token is needed: Authorization: Bearer <token>.",
    },
    "token_invalid": {"zh": "令牌无效或已过期。", "en": "The token is not valid, or no longer."},
    "ticket_invalid": {
        "zh": "票据无效、已使用或已过期，请重新获取。",
        "en": "The ticket is unknown, used or expired: get a new one.",
    },
    "insufficient_scope": {
        "zh": "该 API 密钥的授权范围（scopes）不包括此操作。",
        "en": "The scopes of this API key do not cover this.",
    },
    "forbidden": {"zh": "您的角色不能执行此操作。", "en": "Your role may not do this."},
    "precondition_required": {
        "zh": "请用 If-Match 给出您所修改的版本（* 表示任意版本）。",
        "en": "Say with If-Match which version you change (* means any).",
    },
    "precondition_failed": {
        "zh": "该资源已被他人修改，请重新读取后再试。",
        "en": "It has changed since you read it: read it again and retry.",
    },
    "idempotency_key_reused": {
        "zh": "该 Idempotency-Key 已用于另一个不同的请求。",
        "en": "This Idempotency-Key was used for a different request.",
    },
    "idempotency_in_progress": {
        "zh": "使用同一 Idempotency-Key 的请求仍在处理中。",
        "en": "A request with this Idempotency-Key is still in progress.",
    },
    "invalid_cursor": {
        "zh": "游标无效，请从第一页重新开始。",
        "en": "The cursor is not valid: start at the first page.",
    },
    "cursor_mismatch": {
        "zh": "游标属于另一组筛选条件，请从第一页重新开始。",
        "en": "The cursor belongs to other filters: start at the first page.",
    },
    "overloaded": {"zh": "系统繁忙，请稍后重试。", "en": "Too much is waiting: retry in a moment."},
    "database_unavailable": {
        "zh": "数据库暂不可用，请稍后重试。",
        "en": "The database cannot be reached: retry in a moment.",
    },
    "starting": {
        "zh": "服务正在启动，请稍后重试。",
        "en": "The service is starting: retry in a moment.",
    },
    "upstream_unavailable": {
        "zh": "该服务暂时没有可用的实例，请稍后重试。",
        "en": "No instance of this service can be reached: retry in a moment.",
    },
    "outcome_unknown": {
        "zh": "服务在应答之前中断，无法得知请求是否已执行；请用同一 Idempotency-Key 重试。",
        "en": "The service broke off before it answered; it may have done what you asked. "
        "Repeat with the same Idempotency-Key.",
    },
    "internal_error": {
        "zh": "发生了意外错误；报告问题时请附上 request_id。",
        "en": "Something went wrong on our side; quote the request_id when you report it.",
    },
}
