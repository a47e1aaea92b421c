-- migrate:up transaction:false
-- What was counted by nobody before, a thousand conversations at a time: nobody waits for long.
do $$
declare
  v_company uuid;
  v_conversations uuid[];
begin
  for v_company in select c.id from public.companies c order by c.id loop
    update public.companies c
    set monthly_message_count = (
      select count(*) from public.messages m
      where m.company_id = c.id and m.sender_type = 'bot'
        and m.created_at >= c.monthly_reset_date::timestamp at time zone c.timezone)
    where c.id = v_company and c.monthly_message_count = 0
      and not exists (select from public.usage_slots s where s.company_id = c.id);
    commit;
    for v_conversations in
      select array_agg(c.id order by c.id)
      from (select c.id, row_number() over (order by c.id) / 1000 as batch
        from public.conversations c where c.company_id = v_company) c
      group by c.batch
    loop
      perform from public.conversations c
      where c.company_id = v_company and c.id = any (v_conversations) order by c.id for no key update;
      update public.conversations c set last_message_at = c.last_message_at  -- a trigger's slot
      where c.company_id = v_company and c.id = any (v_conversations) and c.last_message_slot is null;
      update public.conversations c
      set response_time_total_ms = m.response_ms, response_time_count = m.responses,
        avg_response_time_ms = round(m.response_ms::numeric / m.responses)
      from (
        select m.conversation_id, count(*) as responses, sum(m.processing_time_ms) as response_ms
        from public.messages m
        where m.company_id = v_company and m.conversation_id = any (v_conversations)
          and m.sender_type = 'bot' and m.processing_time_ms is not null
        group by m.conversation_id) m
      where c.company_id = v_company and c.id = m.conversation_id;
      commit;
    end loop;
  end loop;
end $$;
-- migrate:down
