-- migrate:up
-- Marks for what happened before there were marks. By itself, so that no lock is held meanwhile.
insert into public.analytics_dirty (company_id, moment)
select distinct f.company_id, date_bin('15 minutes', f.moment, '2000-01-01 00:00:00+00')
from (
  select m.company_id, m.created_at as moment from public.messages m
  union all select c.company_id, c.started_at from public.conversations c
  union all select c.company_id, c.ended_at from public.conversations c
  union all select s.company_id, s.opened_at from public.hitl_sessions s
  union all select s.company_id, s.ended_at from public.hitl_sessions s
  union all select r.company_id, r.created_at from public.message_reactions r
  union all select q.company_id, q.created_at from public.knowledge_queries q) f
where f.moment is not null;
-- migrate:down
