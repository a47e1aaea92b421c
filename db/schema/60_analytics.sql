-- Analytics: metrics, and the days that must be recounted.

create table public.system_metrics (
  id uuid primary key default uuidv7(),
  "timestamp" timestamptz not null default now(),
  metric_type varchar(100) not null,
  value decimal(15, 6) not null,
  unit varchar(50),
  labels jsonb default '{}' check (jsonb_typeof(labels) = 'object'),
  company_id uuid references public.companies (id),
  chatbot_id uuid,
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  check (chatbot_id is null or company_id is not null)
);
comment on table public.system_metrics is
  'Platform table: metrics of the system; those of one company are shown to its owner and administradores.';
create index system_metrics_newest_idx on public.system_metrics (metric_type, "timestamp" desc);
create index system_metrics_company_idx on public.system_metrics (company_id, chatbot_id, "timestamp" desc)
  where company_id is not null;
create index system_metrics_age_idx on public.system_metrics ("timestamp");

alter table public.system_metrics enable row level security, force row level security;
create policy staff_select on public.system_metrics for select to authenticated
  using (company_id = (select private.company_id('metrics.read')));
create policy router_select on public.system_metrics for select to neurant_router using (true);
create policy router_insert on public.system_metrics for insert to neurant_router with check (true);
create policy router_delete on public.system_metrics for delete to neurant_router using (true);
grant select on public.system_metrics to authenticated;
grant select, insert, delete on public.system_metrics to neurant_router;

create table public.analytics_daily (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  chatbot_id uuid,
  date date not null,
  total_messages integer not null default 0 check (total_messages >= 0),
  bot_messages integer not null default 0 check (bot_messages >= 0),
  human_messages integer not null default 0 check (human_messages >= 0),
  end_user_messages integer not null default 0 check (end_user_messages >= 0),
  new_conversations integer not null default 0 check (new_conversations >= 0),
  active_conversations integer not null default 0 check (active_conversations >= 0),
  resolved_conversations integer not null default 0 check (resolved_conversations >= 0),
  avg_conversation_duration_minutes decimal(10, 2),
  hitl_escalations integer not null default 0 check (hitl_escalations >= 0),
  hitl_resolution_time_minutes decimal(10, 2),
  hitl_satisfaction_avg decimal(3, 2) check (hitl_satisfaction_avg between 1 and 5),
  avg_response_time_ms integer check (avg_response_time_ms >= 0),
  response_time_total_ms bigint not null default 0 check (response_time_total_ms >= 0),
  response_time_count integer not null default 0 check (response_time_count >= 0),
  total_tokens_used bigint not null default 0 check (total_tokens_used >= 0),
  satisfaction_ratings integer not null default 0 check (satisfaction_ratings >= 0),
  satisfaction_total integer not null default 0 check (satisfaction_total >= 0),
  satisfaction_avg decimal(3, 2) check (satisfaction_avg between 1 and 5),
  thumbs_up integer not null default 0 check (thumbs_up >= 0),
  thumbs_down integer not null default 0 check (thumbs_down >= 0),
  knowledge_queries integer not null default 0 check (knowledge_queries >= 0),
  knowledge_hits integer not null default 0 check (knowledge_hits between 0 and knowledge_queries),
  knowledge_hit_rate decimal(5, 2) check (knowledge_hit_rate between 0 and 100),
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique nulls not distinct (company_id, chatbot_id, date),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id)
);
comment on table public.analytics_daily is
  'Figures of each day, counted from live and archived facts by private.roll_up_analytics. They are always recounted and never incremented, so late, edited and erased rows are right as well. Once message_changes and analytics_dirty are drained, the table equals a recount. A day of a bot without any event has no row.';
comment on column public.analytics_daily.chatbot_id is
  'Null: the whole company; its averages are over all its facts, not over the bots'' averages.';
comment on column public.analytics_daily.date is 'The day in the company''s timezone.';
comment on column public.analytics_daily.total_messages is
  'Messages created that day by any sender: the bot, the staff, end users and the system.';
comment on column public.analytics_daily.bot_messages is 'Of total_messages, those of the bot.';
comment on column public.analytics_daily.human_messages is 'Of total_messages, those of the staff.';
comment on column public.analytics_daily.end_user_messages is
  'Of total_messages, those of end users.';
comment on column public.analytics_daily.new_conversations is
  'Conversations with started_at on that day.';
comment on column public.analytics_daily.active_conversations is
  'Conversations with a message created that day; each once.';
comment on column public.analytics_daily.resolved_conversations is
  'Conversations with ended_at on that day that were not abandoned.';
comment on column public.analytics_daily.avg_conversation_duration_minutes is
  'Average session_duration_minutes of the conversations with ended_at on that day, including abandoned ones; null if none has one.';
comment on column public.analytics_daily.hitl_escalations is
  'Takeovers (hitl_sessions) with opened_at on that day, whoever requested them.';
comment on column public.analytics_daily.hitl_resolution_time_minutes is
  'Average from opened_at to ended_at, in minutes, of the takeovers that were resolved that day; null if none was.';
comment on column public.analytics_daily.hitl_satisfaction_avg is
  'As satisfaction_avg, for the conversations with a takeover.';
comment on column public.analytics_daily.avg_response_time_ms is
  'Average processing_time_ms of the bot''s messages of that day that have one; null if none has.';
comment on column public.analytics_daily.response_time_total_ms is
  'Sum behind avg_response_time_ms: over several days, divide the sums.';
comment on column public.analytics_daily.response_time_count is
  'Messages behind avg_response_time_ms.';
comment on column public.analytics_daily.total_tokens_used is
  'Sum of tokens_used of the messages of that day.';
comment on column public.analytics_daily.satisfaction_ratings is
  'Conversations with a satisfaction_rating, on the day of ended_at or, while they are open, of started_at.';
comment on column public.analytics_daily.satisfaction_total is
  'Sum behind satisfaction_avg: over several days, divide by satisfaction_ratings.';
comment on column public.analytics_daily.satisfaction_avg is
  'Average satisfaction_rating of satisfaction_ratings; null if there is none.';
comment on column public.analytics_daily.thumbs_up is 'Reactions thumbs_up given that day.';
comment on column public.analytics_daily.thumbs_down is 'Reactions thumbs_down given that day.';
comment on column public.analytics_daily.knowledge_queries is
  'Searches of that day; those outside a conversation count for the company only.';
comment on column public.analytics_daily.knowledge_hits is
  'Of knowledge_queries, those with results that an answer was made of (results_count > 0).';
comment on column public.analytics_daily.knowledge_hit_rate is
  'Percent: 100 * knowledge_hits / knowledge_queries; null if there was no search.';
comment on column public.analytics_daily.created_at is 'When the day was last counted.';
create index analytics_daily_newest_idx on public.analytics_daily (company_id, date desc);

alter table public.analytics_daily enable row level security, force row level security;
-- Each policy for staff names its permission.
create policy staff_select on public.analytics_daily for select to authenticated
  using (company_id = (select private.company_id('analytics.read'))
    and ((select private.sees_all_chatbots())
      or chatbot_id = any ((select private.my_chatbot_ids())::uuid[])));
create policy router_select on public.analytics_daily for select to neurant_router using (true);
create policy router_insert on public.analytics_daily for insert to neurant_router with check (true);
create policy router_delete on public.analytics_daily for delete to neurant_router using (true);
grant select on public.analytics_daily to authenticated;
grant select, insert, delete on public.analytics_daily to neurant_router;

create table public.analytics_dirty (
  company_id uuid not null,
  id bigint generated always as identity (cache 50),
  moment timestamptz,
  primary key (company_id, id)
);
comment on table public.analytics_dirty is
  'Timestamps at which a fact changed, so that the day of each is recounted. The transaction that changes a fact appends them (for messages, the one that drains message_changes), and private.roll_up_analytics removes them. No foreign keys, because rows may outlive what they name.';
comment on column public.analytics_dirty.moment is
  'A timestamp and not a day, because the day depends on the company''s timezone at the time of the count. Null: all days.';

alter table public.analytics_dirty enable row level security, force row level security;
create policy router_select on public.analytics_dirty for select to neurant_router using (true);
create policy router_insert on public.analytics_dirty for insert to neurant_router with check (true);
create policy router_delete on public.analytics_dirty for delete to neurant_router using (true);
grant select, insert, delete on public.analytics_dirty to neurant_router;

create function private.record_metric(
  p_type text, p_value numeric, p_unit text default null, p_labels jsonb default '{}',
  p_company uuid default null, p_chatbot uuid default null)
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.system_metrics (metric_type, value, unit, labels, company_id, chatbot_id)
  values (p_type, p_value, p_unit, p_labels, p_company, p_chatbot)
$$;
comment on function private.record_metric(text, numeric, text, jsonb, uuid, uuid) is
  'Writes one metric. Security definer, called by the worker process, because the worker''s login measures all companies and may read none.';
grant execute on function private.record_metric(text, numeric, text, jsonb, uuid, uuid) to
  neurant_jobs;

create function private.record_system_metrics(p_now timestamptz default now()) returns void
language sql volatile security definer set search_path = '' as $$
  select private.record_metric(m.type, m.value, m.unit)
  from (
    select 'replies_owed', count(*)::numeric, 'count' from public.reply_requests
    union all
    select 'replies_oldest_age', coalesce(extract(epoch from p_now - min(r.requested_at)), 0), 'seconds'
    from public.reply_requests r
    union all
    select 'outbox_waiting', count(*), 'count' from public.outbox o
    where o.status in ('pending', 'sending')
    union all
    select 'outbox_oldest_age', coalesce(extract(epoch from p_now - min(o.created_at)), 0), 'seconds'
    from public.outbox o where o.status in ('pending', 'sending')
    union all
    select 'message_changes_waiting', count(*), 'count' from public.message_changes
    union all
    select 'analytics_marks_waiting', count(*), 'count' from public.analytics_dirty
    union all
    select 'knowledge_uses_waiting', count(*), 'count' from public.knowledge_uses
    union all
    select 'database_size', pg_database_size(current_database()) / 1048576.0, 'MB') m (type, value, unit)
$$;
comment on function private.record_system_metrics(timestamptz) is
  'Writes metrics of the queues of all companies and of the database. Security definer, called by the worker process, because the worker''s login may read none of them.';
grant execute on function private.record_system_metrics(timestamptz) to neurant_jobs;

create function private.drop_old_metrics(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_dropped integer;
begin
  delete from public.system_metrics m where m."timestamp" < p_now - interval '30 days';
  get diagnostics v_dropped = row_count;
  return v_dropped;
end $$;
comment on function private.drop_old_metrics(timestamptz) is
  'Deletes metrics older than 30 days; returns the number. Security definer, called by the worker process, because no other role may delete them.';
grant execute on function private.drop_old_metrics(timestamptz) to neurant_jobs;

create function private.mark_moments(p_company uuid, p_moments timestamptz[]) returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.analytics_dirty (company_id, moment)
  -- No timezone has its midnight between two quarters of an hour, so one mark does for each.
  select distinct p_company, date_bin('15 minutes', t.moment, '2000-01-01 00:00:00+00')
  from unnest(p_moments) as t (moment)
  where t.moment is not null
$$;
comment on function private.mark_moments(uuid, timestamptz[]) is
  'Requests a recount of the days of these timestamps. Security definer, called by other definers only, because no role may write statistics directly.';

create function private.mark_changed_messages() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(c.company_id, array_agg(c.message_created_at))
  from changed c
  group by c.company_id;
  return null;
end $$;
comment on function private.mark_changed_messages() is
  'Requests a recount of a message''s day when its change is taken off the log, in the same transaction. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_drained_messages after delete on public.message_changes
  referencing old table as changed
  for each statement execute function private.mark_changed_messages();

create function private.mark_changed_conversations() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(c.company_id, array_agg(t.moment))
  from changed c
  cross join lateral (values (c.started_at), (c.ended_at)) as t (moment)
  group by c.company_id;
  return null;
end $$;
comment on function private.mark_changed_conversations() is
  'Requests a recount for new and deleted conversations. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_new_conversations after insert on public.conversations
  referencing new table as changed
  for each statement execute function private.mark_changed_conversations();

create trigger mark_deleted_conversations after delete on public.conversations
  referencing old table as changed
  for each statement execute function private.mark_changed_conversations();

create function private.mark_conversation_edit() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(
    new.company_id, array[old.started_at, old.ended_at, new.started_at, new.ended_at]);
  return null;
end $$;
comment on function private.mark_conversation_edit() is
  'Requests a recount for an edited conversation. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_edited_conversations
  after update of status, started_at, ended_at, session_duration_minutes, satisfaction_rating
  on public.conversations
  for each row when ((old.status, old.started_at, old.ended_at, old.session_duration_minutes,
      old.satisfaction_rating)
    is distinct from (new.status, new.started_at, new.ended_at, new.session_duration_minutes,
      new.satisfaction_rating))
  execute function private.mark_conversation_edit();

create function private.mark_changed_hitl_sessions() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(s.company_id, array_agg(t.moment))
  from changed s
  left join public.conversations c on c.company_id = s.company_id and c.id = s.conversation_id
  -- The last: the conversation's rating becomes one of a takeover, or no longer is.
  cross join lateral (
    values (s.opened_at), (s.ended_at), (coalesce(c.ended_at, c.started_at))) as t (moment)
  group by s.company_id;
  return null;
end $$;
comment on function private.mark_changed_hitl_sessions() is
  'Requests a recount for new and deleted takeovers. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_new_hitl_sessions after insert on public.hitl_sessions
  referencing new table as changed
  for each statement execute function private.mark_changed_hitl_sessions();

create trigger mark_deleted_hitl_sessions after delete on public.hitl_sessions
  referencing old table as changed
  for each statement execute function private.mark_changed_hitl_sessions();

create function private.mark_hitl_session_edit() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(
    new.company_id, array[old.opened_at, old.ended_at, new.opened_at, new.ended_at]);
  return null;
end $$;
comment on function private.mark_hitl_session_edit() is
  'Requests a recount for an edited takeover. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_edited_hitl_sessions
  after update of status, opened_at, ended_at on public.hitl_sessions
  for each row when ((old.status, old.opened_at, old.ended_at)
    is distinct from (new.status, new.opened_at, new.ended_at))
  execute function private.mark_hitl_session_edit();

create function private.mark_changed_moments() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(c.company_id, array_agg(c.created_at))
  from changed c
  group by c.company_id;
  return null;
end $$;
comment on function private.mark_changed_moments() is
  'Requests a recount for reactions and knowledge queries, which count on the day of created_at. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_new_reactions after insert on public.message_reactions
  referencing new table as changed
  for each statement execute function private.mark_changed_moments();

create trigger mark_deleted_reactions after delete on public.message_reactions
  referencing old table as changed
  for each statement execute function private.mark_changed_moments();

create trigger mark_new_queries after insert on public.knowledge_queries
  referencing new table as changed
  for each statement execute function private.mark_changed_moments();

create trigger mark_deleted_queries after delete on public.knowledge_queries
  referencing old table as changed
  for each statement execute function private.mark_changed_moments();

create function private.mark_moment_edit() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.mark_moments(new.company_id, array[old.created_at, new.created_at]);
  return null;
end $$;
comment on function private.mark_moment_edit() is
  'Requests a recount for edited reactions and knowledge queries. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_edited_reactions
  after update of reaction_type, created_at on public.message_reactions
  for each row execute function private.mark_moment_edit();

create trigger mark_edited_queries
  after update of results_count, created_at, conversation_id on public.knowledge_queries
  for each row execute function private.mark_moment_edit();

create function private.mark_all_days() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.analytics_dirty (company_id) values (new.id);
  return null;
end $$;
comment on function private.mark_all_days() is
  'Requests a recount of all days when the company''s timezone changes, because every day then has other hours. Security definer, called by a trigger, because no role may write statistics directly.';

create trigger mark_all_days after update of timezone on public.companies
  for each row when (old.timezone <> new.timezone) execute function private.mark_all_days();
