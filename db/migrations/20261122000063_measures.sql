-- migrate:up
-- What the platform measures of itself, and for how long it keeps it.
set local role neurant_owner;

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
  'Measures the queues of all companies and the database. Definer: the worker''s login may read none of them.';

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
  'Measures are kept for 30 days; how many went. Definer: nobody else may delete them.';

create index system_metrics_age_idx on public.system_metrics ("timestamp");
create policy router_select on public.system_metrics for select to neurant_router using (true);
create policy router_delete on public.system_metrics for delete to neurant_router using (true);
grant select, delete on public.system_metrics to neurant_router;
grant execute on function private.record_system_metrics(timestamptz),
  private.drop_old_metrics(timestamptz) to neurant_jobs;
alter function private.record_system_metrics(timestamptz) owner to neurant_router;
alter function private.drop_old_metrics(timestamptz) owner to neurant_router;

reset role;
-- migrate:down
