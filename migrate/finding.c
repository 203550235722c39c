#include "migrate/finding.h"
#include "migrate/table.h"

typedef struct Finding {
	FindingLevel level;
	char *check, *where, *text;
} Finding;

struct Findings {
	GPtrArray *list;
};

static const char *const names[] = {
	[FINDING_OK] = "ok",
	[FINDING_NOTE] = "note",
	[FINDING_OBSOLETE] = "obsolete",
	[FINDING_REFUSED] = "refused",
};

static void finding_free(void *data)
{
	Finding *finding = data;
	g_free(finding->check);
	g_free(finding->where);
	g_free(finding->text);
	g_free(finding);
}

Findings *findings_new(void)
{
	Findings *findings = g_new0(Findings, 1);
	findings->list = g_ptr_array_new_with_free_func(finding_free);
	return findings;
}

void findings_free(Findings *findings)
{
	if (!findings)
		return;
	g_ptr_array_unref(findings->list);
	g_free(findings);
}

void findings_add(Findings *findings, FindingLevel level, const char *check, const char *where,
    const char *format, ...)
{
	Finding *finding = g_new0(Finding, 1);
	va_list list;
	va_start(list, format);
	finding->level = level;
	finding->check = g_strdup(check);
	finding->where = g_strdup(where ? where : "");
	finding->text = g_strdup_vprintf(format, list);
	va_end(list);
	g_ptr_array_add(findings->list, finding);
}

void findings_add_error(
    Findings *findings, FindingLevel level, const char *check, const char *where, Error *error)
{
	findings_add(findings, level, check, where, "%s", error->message);
	error_free(error);
}

guint findings_count(const Findings *findings, FindingLevel level)
{
	guint n = 0;
	for (guint i = 0; i < findings->list->len; i++)
		n += ((Finding *)findings->list->pdata[i])->level == level;
	return n;
}

char *findings_text(const Findings *findings)
{
	g_autoptr(TextTable) table = text_table_new("CHECK", "RESULT", "WHERE", "WHAT", NULL);
	for (guint i = 0; i < findings->list->len; i++) {
		const Finding *f = findings->list->pdata[i];
		text_table_add(table, f->check, names[f->level], f->where, f->text, NULL);
	}
	return text_table_text(table);
}

json_t *findings_json(const Findings *findings)
{
	json_t *list = json_array();
	for (guint i = 0; i < findings->list->len; i++) {
		const Finding *f = findings->list->pdata[i];
		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:s, s:s}", "check", f->check, "result", names[f->level],
			"where", f->where, "text", f->text));
	}
	return list;
}
